"""`raymaas triggers`: training jobs that are run again by themselves."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from raymaas.cli.show import AsJson, client_of, moment, print_json, print_table, state_detail
from raymaas.cli.submitting import Settings
from raymaas.client import Client
from raymaas.client.jobfile import read_job_as
from raymaas.errors import NotFound
from raymaas.specs.jobs import TrainJob
from raymaas.specs.starting import StartWhen
from raymaas.specs.triggers import TriggerRevision, TriggerStart

app = typer.Typer(
    no_args_is_help=True,
    help="Triggers: training jobs that are run again by themselves, by schedule or drift.",
)

NameArgument = Annotated[str, typer.Argument(metavar="NAME")]
Why = Annotated[str, typer.Option(help="Kept with the trigger.")]


@app.command()
def add(
    context: typer.Context,
    job: Annotated[
        Path, typer.Argument(metavar="JOB", help="Job file of a training, with a section `start`.")
    ],
    name: Annotated[
        str | None, typer.Option(metavar="NAME", help="What to call it; default the model's name.")
    ] = None,
    settings: Settings = None,
    why: Why = "",
    as_json: AsJson = False,
) -> None:
    """Have a job run when its section `start` says; the job file alone starts nothing.

    By schedule, or when what a version is asked has drifted:

      start: {every_h: 24}

      start: {on_drift: digits@prod, at_most_every_h: 48, min_feedback: 500}

    A schedule counts from now. While a run of it goes on, no other is started; of
    moments that passed meanwhile only the newest counts. A name that is there
    already gets this job in place of its own.

    Example:

      raymaas triggers add jobs/train_digits.yaml --set start.every_h=24
    """
    document = read_job_as(TrainJob, job, settings=settings or ())
    with client_of(context) as client:
        found = client.triggers.set(name or document.model, document, folder=job.parent, why=why)
    print_json(found) if as_json else typer.echo(in_words(found))


@app.command("list")
def list_triggers(context: typer.Context, as_json: AsJson = False) -> None:
    """List them.

    Example:

      raymaas triggers list
    """
    with client_of(context) as client:
        found = client.triggers.list()
    if as_json:
        return print_json(found)
    rows = [(one.name, one.job.model if one.job else "", _when(one), one.who) for one in found]
    print_table(
        ("name", "model", "starts", "who"),
        rows,
        empty="there is no trigger; see `raymaas triggers add --help`",
    )
    return None


@app.command()
def show(context: typer.Context, name: NameArgument, as_json: AsJson = False) -> None:
    """Show a trigger, and the runs it started last.

    Example:

      raymaas triggers show digits
    """
    with client_of(context) as client:
        found = client.triggers.get(name)
        stands = [] if as_json else [_stand_of(client, start) for start in found.starts]
    if as_json:
        return print_json(found)
    typer.echo(in_words(found.now))
    rows = [
        (moment(start.at), start.run_id, *stand, start.why)
        for start, stand in zip(found.starts, stands, strict=True)
    ]
    print_table(("started", "run", "state", "detail", "why"), rows, empty="it has started nothing yet")
    return None


@app.command()
def pause(context: typer.Context, name: NameArgument, why: Why = "", as_json: AsJson = False) -> None:
    """Start nothing more until it is resumed.

    Example:

      raymaas triggers pause digits --why "the sale begins"
    """
    with client_of(context) as client:
        found = client.triggers.pause(name, why=why)
    print_json(found) if as_json else typer.echo(in_words(found))


@app.command()
def resume(context: typer.Context, name: NameArgument, why: Why = "", as_json: AsJson = False) -> None:
    """Go on; a schedule counts from now.

    Example:

      raymaas triggers resume digits
    """
    with client_of(context) as client:
        found = client.triggers.resume(name, why=why)
    print_json(found) if as_json else typer.echo(in_words(found))


@app.command()
def remove(context: typer.Context, name: NameArgument, why: Why = "", as_json: AsJson = False) -> None:
    """Remove a trigger. Runs that it has started go on.

    Example:

      raymaas triggers remove digits
    """
    with client_of(context) as client:
        found = client.triggers.remove(name, why=why)
    print_json(found) if as_json else typer.echo(f"trigger {name} is removed")


def _stand_of(client: Client, start: TriggerStart) -> tuple[str, str]:
    """The state of the run, and its detail; a start is written before its run is."""
    try:
        status = client.run(start.run_id).status().status
    except NotFound:
        return "", "not there yet"
    return status.state, state_detail(status)


def in_words(found: TriggerRevision) -> str:
    """The trigger in a sentence."""
    assert found.job is not None
    why = f": {found.why}" if found.why else ""
    return f"{found.name} trains {found.job.model} {_when(found)} (since {moment(found.since)}, by {found.who}{why})"


def _when(found: TriggerRevision) -> str:
    start = found.job.start if found.job else None
    return "paused" if found.paused or start is None else when_text(start)


def when_text(start: StartWhen) -> str:
    parts = [f"every {start.every_h:g} h"] if start.every_h else []
    if start.on_drift:
        parts.append(
            f"when {start.on_drift} drifts over {start.drift_over_h:g} h, at most every {start.at_most_every_h:g} h"
        )
    waits = f", once {start.min_feedback} more rows are labelled" if start.min_feedback else ""
    return " and ".join(parts) + waits
