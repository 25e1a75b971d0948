"""`raymaas drift`: how far what a version is asked and answers is from what it was evaluated on."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated

import typer

from raymaas.cli.show import AsJson, client_of, moment, notes, print_json, print_table
from raymaas.cli.usage import moment_of
from raymaas.specs.drift import DriftReport, FeatureDrift

app = typer.Typer()


@app.command()
def drift(
    context: typer.Context,
    reference: Annotated[str, typer.Argument(metavar="MODEL@VERSION", help="A version, or an alias of one.")],
    since: Annotated[
        str, typer.Option(metavar="TIME", help="90m, 24h, 7d; or a date such as 2026-11-01, local time.")
    ] = "24h",
    limit: Annotated[int, typer.Option(min=1, max=1000, help="How many features, the furthest first.")] = 20,
    as_json: AsJson = False,
) -> None:
    """Hold a version's live inputs and predictions against those of its evaluation.

    PSI is the population stability index: from 0.1 a feature is shifting, from
    0.25 it has drifted, if that is beyond chance: p, corrected for the number of
    features, is at most 0.01. Replicas count up to 200 rows a second and keep the
    counts, not the rows; they are up to a minute behind. Answers given from the
    result cache are not counted, nor versions deployed with request_log off.

    Examples:

      raymaas drift digits@2

      raymaas drift digits@prod --since 7d
    """
    with client_of(context) as client:
        found = client.models.drift(reference, since=moment_of(since, now=datetime.now(UTC)))
    if as_json:
        return print_json(found)
    typer.echo(f"{found.model}@{found.version}: {in_words(found)}, since {moment(found.since)}")
    columns = ("feature", "of", "psi", "test", "statistic", "p", "missing", "before", "verdict")
    print_table(columns, [_row(one) for one in found.features[:limit]], empty="")
    if len(found.features) > limit:
        more = len(found.features) - limit
        notes().print(f"{more} features more, none of them further; --limit shows them", markup=False)
    return None


def in_words(found: DriftReport) -> str:
    """The verdict and what it rests on, in one line."""
    if not found.rows:
        return "no rows were counted"
    if found.verdict == "unknown":
        return f"{found.rows} rows are too few to tell drift"
    furthest = found.features[0]
    return f"{found.verdict} in {found.rows} rows; furthest is {furthest.name}, PSI {furthest.psi:.3f}"


def _row(one: FeatureDrift) -> tuple[str, ...]:
    return (
        one.name,
        one.source,
        f"{one.psi:.3f}",
        one.test,
        f"{one.statistic:.3f}",
        f"{one.p_adjusted:.2g}",
        f"{one.missing:.1%}",
        f"{one.missing_before:.1%}",
        one.verdict,
    )
