"""`raymaas evaluate`: measure a version, a recipe by cross-validation, or the samples that a version draws."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import orjson
import typer

from raymaas.cli.findings import print_found
from raymaas.cli.show import AsJson, client_of, print_json
from raymaas.cli.submitting import Settings, Wait, print_accepted
from raymaas.cli.trials import follow
from raymaas.client.jobfile import read_job
from raymaas.errors import InvalidInput
from raymaas.specs.evaluating import EvaluateJob
from raymaas.specs.jobs import TrainJob
from raymaas.specs.kinds import job_fields
from raymaas.specs.names import Reference

app = typer.Typer()

_JOB_FILES = (".yaml", ".yml", ".json")
_OPTIONS = {"slices": "slice", "streaming": "memory-mb"}  # that are not called as the field they set

Data = Annotated[
    str | None,
    typer.Option(
        metavar="NAME|JSON",
        help="Another data set than the version's own: wine, or "
        '\'{"use": "csv", "config": {"path": "new.csv", "label": "y"}}\'.',
    ),
]
Part = Annotated[
    str | None,
    typer.Option(
        metavar="test|all",
        help="test: the rows held out, or the data set's own test part; all: every row. Default: test of its own "
        "data, all of another set.",
    ),
]


@app.command()
def evaluate(
    context: typer.Context,
    target: Annotated[
        str,
        typer.Argument(metavar="MODEL[@VERSION]|JOB", help="digits@2 or digits@prod; or a job file."),
    ],
    data: Data = None,
    part: Part = None,
    slices: Annotated[
        list[str] | None,
        typer.Option(
            "--slice",
            metavar="COLUMN|CONDITION",
            help="Also for each value of a column (`class` is the label), or for 'age >= 40'. Repeatable.",
        ),
    ] = None,
    robustness: Annotated[
        bool,
        typer.Option("--robustness", help="Also under noise, brightness and shifts, or missing values."),
    ] = False,
    memory_mb: Annotated[
        float | None,
        typer.Option(
            min=32,
            metavar="MB",
            help="Read the rows a few at a time when they take more than a quarter of this.",
        ),
    ] = None,
    folds: Annotated[
        int | None, typer.Option(min=2, metavar="K", help="Cross-validate the training job in K folds.")
    ] = None,
    repeats: Annotated[
        int | None, typer.Option(min=1, help="With --folds: divide the rows so often, each time otherwise.")
    ] = None,
    judge: Annotated[
        str | None,
        typer.Option(metavar="MODEL[@VERSION]", help="A classifier that judges samples of the version."),
    ] = None,
    samples: Annotated[int | None, typer.Option(min=10, help="With --judge: how many are drawn.")] = None,
    seed: Annotated[int | None, typer.Option(min=0, help="With --judge: seed of what is drawn.")] = None,
    settings: Settings = None,
    wait: Wait = True,
    as_json: AsJson = False,
) -> None:
    """Measure a version on rows it has not seen, each figure with its interval. Nothing is registered.

    The log goes to stderr, what was found to stdout; `raymaas runs show RUN` prints it again.

    Examples:

      raymaas evaluate digits@2 --slice class --robustness

      raymaas evaluate churn@prod --data '{"use": "csv", "config": {"path": "may.csv", "label": "left"}}'

      raymaas evaluate jobs/train_digits.yaml --folds 5

      raymaas evaluate mnist-gan@1 --judge mnist-lenet5@2 --samples 1000
    """
    options = {
        "data": None if data is None else component_of(data),
        "part": part,
        "slices": slices or None,
        "robustness": robustness or None,
        "streaming": None if memory_mb is None else {"memory_mb": memory_mb},
        "folds": folds,
        "repeats": repeats,
        "judge": judge,
        "samples": samples,
        "seed": seed,
    }
    given = {name: value for name, value in options.items() if value is not None}
    if Path(target).suffix in _JOB_FILES:
        document = _of_file(Path(target), given, settings or [])
    elif settings:
        raise InvalidInput("--set overrides a field of a job file, and none is named")
    else:
        document = _of_version(target, given)
    with client_of(context) as client:
        run = client.evaluate(document, folder=Path(target).parent)
        if not wait:
            print_accepted(run, as_json=as_json)
            return
        follow(run)
        report = run.evaluation()
    print_json(report) if as_json else print_found(report.found)


def component_of(data: str) -> dict[str, Any]:
    """`wine`, or a JSON object with `use` and `config`, as a data set in a job. Raises InvalidInput."""
    if not data.lstrip().startswith("{"):
        return {"use": data}
    try:
        found = orjson.loads(data)
    except orjson.JSONDecodeError as error:
        raise InvalidInput(f"--data: not JSON: {error.msg} at character {error.colno}") from None
    return dict(found)


def _of_version(reference: str, given: dict[str, Any]) -> EvaluateJob:
    """What is asked of a registered version. Raises InvalidInput for options that are of something else."""
    if "judge" in given:
        _only(given, "--judge", {"judge", "samples", "seed"})
        how = {"by": "samples", "version": reference, **given}
    else:
        _only(given, f"{reference}, a version,", {"data", "part", "slices", "robustness", "streaming"})
        how = {"by": "data", "version": reference, **given}
    model = Reference.parse(reference).model
    return EvaluateJob.parse({"model": model, "how": how}, source="evaluate")


def _of_file(path: Path, given: dict[str, Any], settings: list[str]) -> EvaluateJob:
    """The evaluate job in a file, or the cross-validation of the train job in it."""
    job = read_job(path, settings=settings)
    if isinstance(job, EvaluateJob):
        _only(given, f"{path}, which says how itself,", set())
        return job
    if not isinstance(job, TrainJob):
        raise InvalidInput(f"{path} is a {job.kind!r} job; folds are of a train job")
    if "folds" not in given:
        raise InvalidInput(
            f"{path} trains a model; say --folds 5 to cross-validate it, or name a version such as {job.model}@1"
        )
    _only(given, "--folds", {"folds", "repeats"})
    how = {"by": "folds", "job": job_fields(job), **given}
    return EvaluateJob.parse({"model": job.model, "how": how}, source="evaluate")


def _only(given: dict[str, Any], what: str, allowed: set[str]) -> None:
    for name in given:
        if name not in allowed:
            takes = ", ".join(f"--{_OPTIONS.get(n, n)}" for n in sorted(allowed))
            raise InvalidInput(
                f"--{_OPTIONS.get(name, name)} does not go with {what}; it takes {takes or 'no such options'}"
            )
