"""`raymaas feedback` and `raymaas compare`: what turned out to be true of answers, and which version did better."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import Annotated

import orjson
import typer

from raymaas.cli.show import AsJson, client_of, moment, output, print_json, print_table
from raymaas.cli.usage import moment_of
from raymaas.errors import InvalidInput
from raymaas.specs.feedback import MOST_ITEMS, Feedback, FeedbackKept
from raymaas.specs.outcomes import OutcomeMetric, VersionOutcome

app = typer.Typer()

_START = 'write one {...} on each line, such as {"request_id": "...", "label": "7"}'


@app.command()
def feedback(
    context: typer.Context,
    request_id: Annotated[
        str | None, typer.Argument(metavar="[REQUEST_ID]", help="Of the answer: its x-request-id.")
    ] = None,
    label: Annotated[str | None, typer.Option(help="What was true: the class, or the number.")] = None,
    reward: Annotated[float | None, typer.Option(help="How good the answer was; more is better.")] = None,
    row: Annotated[int, typer.Option(min=0, help="Which row of the request, from 0.")] = 0,
    model: Annotated[
        str | None,
        typer.Option(
            metavar="MODEL", help="Which answered. Default: looked up, some seconds after the answer."
        ),
    ] = None,
    file: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Many at once: a JSON object on each line. Needs --model."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Say what turned out to be true of an answer, or how good it was.

    It is kept if the model's sampling rule keeps that request: see `raymaas
    sampling`. Later feedback on the same row takes the place of earlier.

    Examples:

      raymaas feedback 0199a1b2c3d4e5f60718293a4b5c6d7e --label 7

      raymaas feedback --model digits --file outcomes.jsonl
    """
    if (request_id is None) == (file is None):
        raise InvalidInput("give the id of a request, or --file with one piece of feedback on each line")
    if file is not None and model is None:
        raise InvalidInput("--file needs --model: its answers are all of one model")
    with client_of(context) as client:
        if request_id is not None:
            kept = client.feedback.give(request_id, label=label, reward=reward, row=row, model=model)
        else:
            assert file is not None
            assert model is not None
            items = list(read_lines(file))  # A mistake in the last line is told before the first is sent.
            if not items:
                raise InvalidInput(f"{file} is empty; {_START}")
            parts = [client.feedback.give_many(model, batch) for batch in _batches(items)]
            kept = FeedbackKept(
                model=model,
                received=sum(part.received for part in parts),
                kept=sum(part.kept for part in parts),
            )
    if as_json:
        return print_json(kept)
    typer.echo(f"{kept.model}: {kept.kept} of {kept.received} kept")
    return None


@app.command()
def compare(
    context: typer.Context,
    first: Annotated[str, typer.Argument(metavar="MODEL@FIRST", help="A version, or an alias of one.")],
    second: Annotated[str, typer.Argument(metavar="MODEL@SECOND", help="Held against the first.")],
    metric: Annotated[
        OutcomeMetric,
        typer.Option(help="accuracy and log_loss of classes, mae and mse of numbers, or the mean reward."),
    ] = "accuracy",
    since: Annotated[
        str, typer.Option(metavar="TIME", help="90m, 24h, 7d; or a date such as 2026-11-01, local time.")
    ] = "7d",
    as_json: AsJson = False,
) -> None:
    """Which of two versions did better, by the feedback on the requests each answered.

    Divide the traffic (`raymaas traffic`), keep answers (`raymaas sampling`), and
    say what came of them (`raymaas feedback`). Two intervals are shown: of one
    look, and one that may be looked at again and again, which the verdict is by.
    To compare on held-out rows instead: `raymaas models compare`.

    Example:

      raymaas compare digits@2 digits@3 --metric accuracy --since 24h
    """
    with client_of(context) as client:
        found = client.feedback.compare(
            first, second, metric=metric, since=moment_of(since, now=datetime.now(UTC))
        )
    if as_json:
        return print_json(found)
    columns = ("version", "sampled", "judged", found.measured, "interval")
    rows = [_row(found.model, outcome) for outcome in (found.first, found.second)]
    print_table(columns, rows, empty="")
    for name, told in (("one look", found.difference), ("any looks", found.anytime)):
        if told is not None:
            figures = f"{told.value:+.4f} ({told.low:+.4f} to {told.high:+.4f})"
            p_value = (
                f", p = {found.p_value:.2g}" if told is found.difference and found.p_value is not None else ""
            )
            typer.echo(f"difference, {name}: {figures} at {told.confidence:.0%}{p_value}")
    output().print(f"{found.statement}, since {moment(found.since)}", markup=False, highlight=False)
    return None


def read_lines(file: Path) -> Iterator[Feedback]:
    """Raises InvalidInput naming the line."""
    try:
        lines = file.read_bytes().splitlines()
    except OSError as error:
        raise InvalidInput(f"{file} cannot be read: {error.strerror}; {_START}") from None
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            fields = orjson.loads(line)
        except orjson.JSONDecodeError as error:
            raise InvalidInput(f"{file}, line {number}: not JSON: {error.msg}; {_START}") from None
        yield Feedback.parse(fields, source=f"{file}, line {number}")


def _batches(items: list[Feedback]) -> Iterator[list[Feedback]]:
    pending = iter(items)
    while batch := list(islice(pending, MOST_ITEMS)):
        yield batch


def _row(model: str, outcome: VersionOutcome) -> tuple[str, ...]:
    metric = outcome.metric
    return (
        f"{model}@{outcome.version}",
        str(outcome.sampled),
        str(outcome.judged),
        f"{metric.value:.4f}" if metric else "?",
        f"{metric.low:.4f} to {metric.high:.4f}" if metric else "",
    )
