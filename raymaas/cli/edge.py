"""`raymaas edge`: one more ingress host of a cluster, in the foreground."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from raymaas.cli.local import settings_from_environment
from raymaas.errors import InvalidInput

app = typer.Typer()


@app.command()
def edge(
    control: Annotated[
        str,
        typer.Option(metavar="IP:PORT", help="Where the cluster's controller listens: `up --control-host`."),
    ],
    secret_file: Annotated[
        Path, typer.Option(help="A copy of <home>/run/edge-secret of the host that ran `up`; mode 0600.")
    ],
    host: Annotated[
        str | None,
        typer.Option(metavar="IP", help="Address to listen on. Default 127.0.0.1, or RAYMAAS_HOST."),
    ] = None,
    port: Annotated[
        int | None, typer.Option(help="Port to listen on. Default 8080, or RAYMAAS_PORT.")
    ] = None,
    run_dir: Annotated[
        Path | None,
        typer.Option(help="Private folder for its routes, socket and logs. Default <home>/edge."),
    ] = None,
) -> None:
    """Run one more edge of a cluster on this host, until SIGTERM.

    It routes, checks keys and balances like the edge of `raymaas up`, and follows
    the same controller. What it has learnt is in its run directory: it answers
    while the controller is away, and a new one takes up the HAProxy of one that
    was killed. Rate limits of keys count at each edge for itself.

    Run it on a node of the Ray cluster: what has no replica yet waits at Ray
    Serve's proxy of that node. Have something start it again, such as systemd, with
    KillMode=process: HAProxy then lives on when only the agent dies. A new
    `raymaas up` makes a new secret: copy it again.

    Examples:

      raymaas up --address auto --control-host 10.0.0.5 --control-port 8090

      raymaas edge --control 10.0.0.5:8090 --secret-file /etc/raymaas/edge-secret --host 10.0.0.6
    """
    from raymaas import services
    from raymaas.serve.edge.config import EdgeSettings

    chosen = settings_from_environment(port=port, host=host)
    fields = {"bind_host": chosen.host, "port": chosen.port, "control": control, "secret": _read(secret_file)}
    services.configure_logging()
    services.ingress(EdgeSettings.parse(fields, source="raymaas edge"), run_dir or chosen.home / "edge")


def _read(secret_file: Path) -> str:
    try:
        return secret_file.read_text().strip()
    except OSError as error:
        raise InvalidInput(
            f"the edge's secret cannot be read from {secret_file} ({error.strerror}); copy it there from"
            " <home>/run/edge-secret of the host that ran `raymaas up`"
        ) from None
