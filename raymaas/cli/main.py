"""`raymaas`: the console script. An error is one red sentence on stderr and exit status 1; 2 is for usage."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Annotated

import typer

from raymaas import __version__
from raymaas.cli import (
    compress,
    data,
    deploy,
    drift,
    edge,
    evaluate,
    exchange,
    feedback,
    gc,
    init,
    keys,
    lineage,
    local,
    models,
    predict,
    rollouts,
    run_comparison,
    run_files,
    runs,
    sampling,
    schema,
    sweep,
    train,
    triggers,
    usage,
)
from raymaas.cli.show import Server, fail
from raymaas.errors import RaymaasError

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)
app.add_typer(local.app)
app.add_typer(edge.app)
app.add_typer(train.app)
app.add_typer(data.app, name="data")
app.add_typer(compress.app)
app.add_typer(sweep.app)
app.add_typer(evaluate.app)
runs.app.add_typer(run_comparison.app)
runs.app.add_typer(run_files.app)
app.add_typer(runs.app, name="runs")
models.app.add_typer(exchange.app)
models.app.add_typer(lineage.app)
app.add_typer(models.app, name="models")
app.add_typer(deploy.app)
app.add_typer(rollouts.app)
app.add_typer(rollouts.rollouts_app, name="rollouts")
app.add_typer(predict.app)
app.add_typer(keys.app, name="keys")
app.add_typer(usage.app)
app.add_typer(drift.app)
app.add_typer(sampling.app, name="sampling")
app.add_typer(triggers.app, name="triggers")
app.add_typer(feedback.app)
app.add_typer(schema.app)
app.add_typer(init.app)
app.add_typer(gc.app)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"raymaas {__version__}")
        raise typer.Exit


@app.callback()
def raymaas(
    context: typer.Context,
    url: Annotated[
        str | None,
        typer.Option(metavar="URL", help="The server. Default RAYMAAS_URL, else http://127.0.0.1:8080."),
    ] = None,
    api_key: Annotated[
        str | None,
        typer.Option(
            metavar="KEY",
            help="Sent with every request; see `raymaas keys`. Default RAYMAAS_API_KEY, which others cannot see in "
            "a list of processes.",
        ),
    ] = None,
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Take models through their whole life on Ray: train, register, serve, move traffic.

    Example:

      raymaas --url http://gpu-box:8080 models list
    """
    context.obj = Server(url, api_key)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run one command and exit the process with its status."""
    try:
        app(args=arguments, prog_name="raymaas")
    except RaymaasError as error:
        fail(str(error))
        sys.exit(1)


if __name__ == "__main__":
    main()
