"""`raymaas compress`: submit a search for a smaller version and follow its trials."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from raymaas.cli.loglines import version_line
from raymaas.cli.show import client_of, print_json
from raymaas.cli.submitting import Settings, Wait, print_accepted
from raymaas.cli.trials import follow
from raymaas.client.jobfile import read_job_as
from raymaas.specs.compression import CompressJob

app = typer.Typer()


@app.command()
def compress(
    context: typer.Context,
    job: Annotated[Path, typer.Argument(metavar="JOB", help="Job file of kind compress.")],
    settings: Settings = None,
    wait: Wait = True,
    as_json: Annotated[bool, typer.Option("--json", help="Print the version, or the run, as JSON.")] = False,
) -> None:
    """Search for the smallest version that answers almost as well, and register it.

    The log and the trials go to stderr; the version is printed on stdout.

    Example:

      raymaas compress jobs/compress_digits.yaml --set max_loss=1
    """
    document = read_job_as(CompressJob, job, settings=settings or ())
    with client_of(context) as client:
        run = client.compress(document)
        if not wait:
            print_accepted(run, as_json=as_json)
            return
        parent = client.models.version(document.parent or document.model)
        ended = follow(run, document.gate(parent).objectives).status
        assert ended.state == "succeeded"
        version = client.models.version(f"{document.model}@{ended.version}")
        print_json(version) if as_json else typer.echo(version_line(version))
