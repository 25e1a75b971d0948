"""`raymaas compress`: submit a search for a smaller version and watch its front move."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from raymaas.cli.loglines import version_line
from raymaas.cli.moving_front import moving_front
from raymaas.cli.show import client_of, print_json
from raymaas.cli.submitting import Settings, Wait, print_accepted
from raymaas.cli.trials import follow
from raymaas.client.jobfile import folder_of, read_job_as
from raymaas.specs.compression import CompressJob, Gate
from raymaas.specs.names import Reference
from raymaas.specs.runs import Succeeded
from raymaas.specs.versions import ModelVersion

app = typer.Typer()


def _source(job: str) -> Path | dict[str, str]:
    """The job file, or the job that compresses the version of that name."""
    if Path(job).suffix in (".yaml", ".yml", ".json"):
        return Path(job)
    return {"kind": CompressJob.kind, "model": Reference.parse(job).model, "parent": job}


def _drawn_gate(job: CompressJob, parent: ModelVersion) -> Gate:
    """As the picture has it: what the parent reached on validation rows only the run knows."""
    metric, known = job.gate_metric(parent), parent.evaluation.metrics
    return job.gate(metric, reached=known[metric].value if metric in known else 0.0)


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
            help="The gate: how much worse the model's metric may get on validation rows, accuracy in points. Default "
            "0.5 points, 2 % of another metric, 0.25 deviations of a GAN's samples, or what the job file says.",
        ),
    ] = None,
    max_bytes: Annotated[
        int | None, typer.Option(min=1, help="What the coded file may take, at most.")
    ] = None,
    max_latency_ms: Annotated[
        float | None,
        typer.Option(
            min=0, help="What one row may take in the runtime that will serve it (median, measured)."
        ),
    ] = None,
    choose: Annotated[
        list[str] | None,
        typer.Option(
            help="Which of the recipes within all limits to register: smallest (default), fastest, or knee, after "
            "which fewer bytes begin to cost much. Repeat it, or put commas between, for a version of each."
        ),
    ] = None,
    trials: Annotated[int | None, typer.Option(min=1, help="Recipes to try, at most.")] = None,
    minutes: Annotated[
        float | None,
        typer.Option(min=0, help="Time to search, at most; what is under way then is ended."),
    ] = None,
    settings: Settings = None,
    wait: Wait = True,
    as_json: Annotated[
        bool,
        typer.Option(
            "--json", help="Print the version, those of several rules as a list, or the run, as JSON."
        ),
    ] = False,
) -> None:
    """Search for the smallest version that answers almost as well, and register it.

    Each trial carries out a recipe: passes in order, such as prune, then quantize, with a
    little training in each. Its coded file is decoded and asked the validation rows; the gate
    says how much of the metric may be lost. The recipes that no other beats, in bytes and
    metric, are the front. Of those a few are built for every runtime (torch, ONNX, bfloat16,
    8-bit integers), asked again and timed there; what is registered passes the gate in the
    runtime that serves it. Test rows are looked at once for each version, after it was chosen.

    Without a job file the recipe is prune and quantize, with sparsity, score and bits searched.
    A job file says its own: distill (a smaller student), channels and lowrank (fewer or thinner
    products), l1, prune, finetune, quantize, then compute (which runtimes are tried) and
    entropy (how the file is coded). Any setting can be searched, as {choice: [3, 4]} or
    {uniform: [0.8, 0.95]}. `raymaas schema compress` has all fields and `raymaas schema prune`
    those of a pass; --set changes any of them.

    A line is printed for every trial as it ends: bytes, metric, whether it passes the gate and
    is on the front. The front so far, as a page, picture and table: `raymaas runs front RUN
    --to FOLDER`. The log and the trials go to stderr; what was registered is printed on stdout.

    Examples:

      raymaas compress digits@1 --max-error-increase 0.2 --trials 12

      raymaas compress digits@1 --choose smallest,fastest --max-bytes 10000 --minutes 10

      raymaas compress jobs/compress_digits.yaml --set search.sampler=nsga2 --set search.trials=60
    """
    chosen = {
        "max_loss": max_error_increase,
        "max_bytes": max_bytes,
        "max_latency_ms": max_latency_ms,
        "search.trials": trials,
        "search.minutes": minutes,
        "choose": f"'{','.join(choose)}'" if choose else None,
    }
    given = [f"{field}={value}" for field, value in chosen.items() if value is not None]
    source = _source(job)
    document = read_job_as(CompressJob, source, settings=[*given, *(settings or ())])
    with client_of(context) as client:
        if "@" in document.parent:  # a wrong metric is told before anything is submitted
            document.gate_metric(client.models.version(document.parent))
        run = client.compress(document, folder=folder_of(source))
        if not wait:
            print_accepted(run, as_json=as_json)
            return
        accepted = run.spec().job  # in which the parent has a number
        assert isinstance(accepted, CompressJob)
        gate = _drawn_gate(accepted, client.models.version(accepted.parent))
        ended = follow(run, lambda trials: moving_front(trials, gate)).status
        assert isinstance(ended, Succeeded)
        versions = [client.models.version(f"{document.model}@{number}") for number in ended.versions]
        if as_json:
            print_json(versions[0] if len(document.choose) == 1 else versions)
            return
        for version in versions:
            typer.echo(version_line(version))
