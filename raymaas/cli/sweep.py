"""`raymaas sweep`: submit a search over the fields of any job and follow its trials."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
import yaml

from raymaas.cli.show import client_of, output, print_json
from raymaas.cli.submitting import Settings, Wait, print_accepted
from raymaas.cli.trials import follow, table_of
from raymaas.client.jobfile import read_job
from raymaas.errors import InvalidInput
from raymaas.specs.kinds import job_fields
from raymaas.specs.sweeping import SweepJob

app = typer.Typer()


@app.command()
def sweep(
    context: typer.Context,
    job: Annotated[Path, typer.Argument(metavar="JOB", help="Job file of the kind that is varied.")],
    search: Annotated[
        list[str],
        typer.Option(
            metavar="FIELD=KIND:VALUES",
            help="A field and its values: choice:32,64, uniform:0,0.5, loguniform:1e-4,1e-2, integer:1,4. Repeatable.",
        ),
    ],
    metric: Annotated[list[str] | None, typer.Option(help="What is best; repeat for several.")] = None,
    mode: Annotated[list[str] | None, typer.Option(help="min or max, one for each metric.")] = None,
    trials: Annotated[int, typer.Option(min=1, help="Trials, at most.")] = 8,
    scheduler: Annotated[str | None, typer.Option(help="asha: stop poor trials early.")] = None,
    sampler: Annotated[
        str,
        typer.Option(
            help="What draws trials from those before: tpe, or nsga2, which crosses good ones, from 30 on."
        ),
    ] = "tpe",
    minutes: Annotated[
        float | None, typer.Option(min=0, help="Time limit; what is under way then is ended.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Seed of what is tried.")] = 0,
    settings: Settings = None,
    wait: Wait = True,
    as_json: Annotated[bool, typer.Option("--json", help="Print the trials, or the run, as JSON.")] = False,
) -> None:
    """Carry out a job many times with other values in some fields. Nothing is registered.

    Examples:

      raymaas sweep jobs/train_digits.yaml --search training.learning_rate=loguniform:1e-4,1e-2
      --metric validation_loss --mode min --trials 8 --scheduler asha
    """
    metrics, modes = metric or ["validation_loss"], mode or ["min"]
    if len(metrics) != len(modes):
        raise InvalidInput(f"give one --mode for each --metric, got {len(metrics)} and {len(modes)}")
    document = SweepJob.parse(
        {
            "job": job_fields(read_job(job, settings=settings or ())),
            "fields": dict(field_of(text) for text in search),
            "objectives": [{"metric": m, "mode": o} for m, o in zip(metrics, modes, strict=True)],
            "scheduler": scheduler,
            "search": {"trials": trials, "seed": seed, "sampler": sampler, "minutes": minutes},
        },
        source="sweep",
    )
    with client_of(context) as client:
        run = client.sweep(document, folder=job.parent)
        if not wait:
            print_accepted(run, as_json=as_json)
            return
        follow(run, lambda trials: table_of(trials, document.objectives))
        ended = run.trials()
        print_json(ended) if as_json else output().print(table_of(ended, document.objectives))


def field_of(text: str) -> tuple[str, dict[str, list[Any]]]:
    """`training.epochs=integer:1,4` as a field and its values; each value is read as YAML, so `3` is a number.

    Raises InvalidInput with the form expected.
    """
    field, equals, values = text.partition("=")
    kind, colon, listed = values.partition(":")
    if not (field and equals and kind and colon and listed):
        raise InvalidInput(
            f"--search {text!r} is not of the form training.learning_rate=loguniform:1e-4,1e-2"
        )
    return field, {kind: [_value(part.strip()) for part in listed.split(",")]}


def _value(text: str) -> Any:
    try:
        return float(text) if "e" in text.lower() else yaml.safe_load(text)
    except ValueError:
        return text
    except yaml.YAMLError:
        raise InvalidInput(f"--search: {text!r} is not a YAML value") from None
