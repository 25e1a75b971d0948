"""`raymaas train`: submit a job and follow it to its version."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.text import Text

from raymaas.cli.liveline import shown_on
from raymaas.cli.show import client_of, notes, print_json
from raymaas.cli.submitting import Settings, Wait, print_accepted
from raymaas.client import Client
from raymaas.client.client import RunHandle
from raymaas.client.jobfile import read_job_as, with_origins
from raymaas.specs.jobs import TrainJob
from raymaas.specs.versions import ModelVersion

app = typer.Typer()


@app.command()
def train(
    context: typer.Context,
    job: Annotated[Path, typer.Argument(metavar="JOB", help="Job file; `raymaas init` writes one.")],
    settings: Settings = None,
    data: Annotated[
        str | None,
        typer.Option(
            metavar="SOURCE",
            help="In place of the job's data: a name such as mnist, or feedback:MODEL[@VERSION].",
        ),
    ] = None,
    init_from: Annotated[
        str | None, typer.Option(metavar="MODEL@VERSION", help="Start from the weights of this version.")
    ] = None,
    wait: Wait = True,
    as_json: Annotated[bool, typer.Option("--json", help="Print the version, or the run, as JSON.")] = False,
) -> None:
    """Train a model and register it as a new version.

    The log goes to stderr; the version is printed on stdout. On a terminal a line below the log shows losses, speed and
    the time left. A budget stops the run between two epochs and keeps what was trained: --set budget.hours=0.5.

    With --data feedback:digits@prod a model learns from what prod was asked, as far
    as `raymaas sampling` kept it and `raymaas feedback` gave it a label.

    Examples:

      raymaas train jobs/train_digits.yaml --set training.epochs=3

      raymaas train jobs/train_digits.yaml --data feedback:digits@prod --init-from digits@prod
    """
    document = read_job_as(TrainJob, job, settings=settings or ())
    document = with_origins(document, data=data, init_from=init_from)
    with client_of(context) as client:
        run = client.train(document, folder=job.parent)
        if not wait:
            print_accepted(run, as_json=as_json)
            return
        version = followed(client, run)
        print_json(version) if as_json else typer.echo(summary(version))


def followed(client: Client, run: RunHandle) -> ModelVersion:
    """The version a training run ends with; its log and progress are shown until then. Raises RunFailed."""
    console = notes()
    console.print(
        Text(f"run {run.run_id} accepted; `raymaas runs stop {run.run_id}` stops it"), soft_wrap=True
    )
    try:
        with shown_on(console) as show:
            run.wait(on_event=show)
    except KeyboardInterrupt:
        console.print(f"the run goes on; follow it with `raymaas runs logs {run.run_id} --follow`")
        raise typer.Exit(130) from None
    ended = run.status()
    assert ended.status.state == "succeeded"
    return client.models.version(f"{ended.model}@{ended.status.version}")


def summary(version: ModelVersion) -> str:
    """A version and its leading score, in one line."""
    evaluation = version.evaluation
    name, metric = evaluation.leading()
    figure = f"{name} {metric.value:.4f} ({metric.low:.4f} to {metric.high:.4f})"
    return f"{version.model}@{version.version}: {figure} on {evaluation.rows} {evaluation.part} rows"
