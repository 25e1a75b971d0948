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
from raymaas.specs.names import Reference
from raymaas.specs.search import Objective

app = typer.Typer()


def _source(job: str) -> Path | dict[str, str]:
    """The job file, or the job that compresses the version of that name."""
    if Path(job).suffix in (".yaml", ".yml", ".json"):
        return Path(job)
    return {"kind": CompressJob.kind, "model": Reference.parse(job).model, "parent": job}


@app.command()
def compress(
    context: typer.Context,
    job: Annotated[
        str,
        typer.Argument(metavar="JOB|MODEL", help="Job file of kind compress; or digits@1, to compress that."),
    ],
    max_error_increase: Annotated[
        float | None,
        typer.Option(
            min=0,
            help="How much worse the model's metric may get on validation rows, accuracy in points. Default 0.5 "
            "points, 2 % of another metric, or what the job file says.",
        ),
    ] = None,
    trials: Annotated[int | None, typer.Option(min=1, help="Recipes to try, at most.")] = None,
    choose: Annotated[
        str | None, typer.Option(help="Of those good enough: smallest (default), or the knee of the front.")
    ] = None,
    settings: Settings = None,
    wait: Wait = True,
    as_json: Annotated[bool, typer.Option("--json", help="Print the version, or the run, as JSON.")] = False,
) -> None:
    """Search for the smallest version that answers almost as well, and register it.

    The log and the trials go to stderr; the version is printed on stdout.

    Examples:

      raymaas compress digits@1 --max-error-increase 0.2 --trials 12

      raymaas compress jobs/compress_digits.yaml --set search.seed=1
    """
    chosen = {"max_loss": max_error_increase, "search.trials": trials, "choose": choose}
    given = [f"{field}={value}" for field, value in chosen.items() if value is not None]
    document = read_job_as(CompressJob, _source(job), settings=[*given, *(settings or ())])
    with client_of(context) as client:
        named = client.models.version(document.parent) if "@" in document.parent else None
        # A wrong metric is told before anything is submitted.
        objectives = document.gate(named).objectives if named else (Objective(metric="bytes", mode="min"),)
        run = client.compress(document)
        if not wait:
            print_accepted(run, as_json=as_json)
            return
        ended = follow(run, objectives).status
        assert ended.state == "succeeded"
        version = client.models.version(f"{document.model}@{ended.version}")
        print_json(version) if as_json else typer.echo(version_line(version))
