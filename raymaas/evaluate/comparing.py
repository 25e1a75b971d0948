"""Comparing two versions on the same rows: the difference of every metric that both have, and what it means.

Legend: N rows.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np

from raymaas.evaluate.bootstrap import resample, side_by_side
from raymaas.evaluate.intervals import CONFIDENCE
from raymaas.evaluate.mcnemar import mcnemar
from raymaas.evaluate.paired import RowOutcomes, check_same_rows, paired_difference
from raymaas.evaluate.scored import Scored, Weighted, mean_of
from raymaas.specs.evaluation import LESS_IS_BETTER, Metric, leading
from raymaas.specs.reports import Comparison, McNemar


@dataclass(frozen=True, eq=False)
class Contender:
    """A version, the rows it was scored on, `row_N` int64, and its metrics as functions of their weights."""

    name: str
    row_N: np.ndarray
    weighted: Mapping[str, Weighted]
    correct_N: np.ndarray | None = None

    @classmethod
    def of_scored(cls, name: str, row_N: np.ndarray, scored: Scored) -> Contender:
        return cls(name, row_N, scored.weighted, scored.per_row.get("correct"))

    @classmethod
    def of_record(cls, name: str, row_N: np.ndarray, values: Mapping[str, np.ndarray]) -> Contender:
        """From the values a version was published with, see `raymaas.bundle.correctness`; in order of rows."""
        order = np.argsort(row_N, kind="stable")
        weighted = {
            "accuracy" if name == "correct" else name: mean_of(v[order]) for name, v in values.items()
        }
        if "mse" in weighted:
            squares = weighted["mse"]
            weighted["rmse"] = lambda w_RN: np.sqrt(squares(w_RN))
        correct_N = values.get("correct")
        return cls(name, row_N[order], weighted, None if correct_N is None else correct_N[order])


def compare(
    first: Contender,
    second: Contender,
    *,
    dataset: str,
    part: str,
    source: Literal["recorded", "evaluated"],
    confidence: float = CONFIDENCE,
) -> Comparison:
    """The figures of `second` minus those of `first`, on rows that both have in the same order.

    The difference of accuracies has Tango's interval, all others BCa intervals of a paired bootstrap. Raises
    InvalidInput unless the rows are the same, and there is a metric that both have.
    """
    check_same_rows(first.row_N, second.row_N)
    names = [name for name in second.weighted if name in first.weighted]
    drawn = resample(
        side_by_side(*(_difference(first.weighted[name], second.weighted[name]) for name in names)),
        len(first.row_N),
    )
    differences = {name: one.bca(confidence=confidence) for name, one in zip(names, drawn, strict=True)}
    test = None
    if first.correct_N is not None and second.correct_N is not None:
        ours, theirs = (RowOutcomes(c.row_N, c.correct_N) for c in (second, first) if c.correct_N is not None)
        differences["accuracy"] = paired_difference(ours, theirs, confidence=confidence)
        right, other = second.correct_N != 0, first.correct_N != 0
        test = mcnemar(first_only=int((other & ~right).sum()), second_only=int((right & ~other).sum()))
    return Comparison(
        first=first.name,
        second=second.name,
        dataset=dataset,
        part=part,
        rows=len(first.row_N),
        source=source,
        differences=differences,
        mcnemar=test,
        verdict=verdict(first.name, second.name, differences, test),
    )


def verdict(first: str, second: str, differences: Mapping[str, Metric], test: McNemar | None) -> str:
    """What the leading difference means, in a sentence: the better one's figure minus the other's."""
    name, found = leading(differences)
    value, low, high = found.value, found.low, found.high
    if low <= 0 <= high:
        says = f"{first} and {second} cannot be told apart on these rows"
    elif (value > 0) == (name not in LESS_IS_BETTER):
        says = f"{second} is better than {first}"
    else:
        says, value, low, high = f"{first} is better than {second}", -value, -high, -low
    if test is None:
        return f"{says}: {name} {value:+.4g} [{low:+.4g}, {high:+.4g}]"
    return (
        f"{says}: {100 * value:+.1f} points [{100 * low:+.1f}, {100 * high:+.1f}], McNemar p = {test.exact_p:.2g} "
        f"(mid-p {test.mid_p:.2g}); {test.second_only} rows only {second} gets right, {test.first_only} only {first}"
    )


def _difference(first: Weighted, second: Weighted) -> Weighted:
    return lambda w_RN: second(w_RN) - first(w_RN)
