"""Slices: rows that have something in common, by a column or by a condition on one.

A column of numbers with many values is cut at its quartiles; of text and few numbers each value is a slice.
Legend: N rows.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from raymaas.data.columns import missing
from raymaas.errors import InvalidInput

FEW_ROWS = 30
"""Below this a slice's figures say little; they are given with a warning."""

_MOST_VALUES = 20  # of one column, each its own slice; of more only the largest are
_CONDITION = re.compile(r"(?P<column>.+?)\s*(?P<relation><=|>=|==|!=|<|>)\s*(?P<value>.+)")
_RELATIONS = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
    "==": operator.eq,
    "!=": operator.ne,
}


@dataclass(frozen=True, eq=False)
class Slice:
    """Rows by their positions, int64, and what they have in common."""

    name: str
    positions: np.ndarray

    @property
    def warning(self) -> str:
        rows = len(self.positions)
        return f"only {rows} rows" if rows < FEW_ROWS else ""


def slices(wanted: str, columns: Mapping[str, np.ndarray]) -> list[Slice]:
    """The slices that `wanted` names: `age` by its values, `age >= 40` those rows and the others.

    Raises InvalidInput for an unknown column, a column with several values in a row, and a value that cannot be
    compared with the column.
    """
    name = column_of(wanted, columns)
    if wanted == name:
        return list(_by_value(wanted, _flat(wanted, columns[wanted])))
    condition = _CONDITION.fullmatch(wanted.strip())
    assert condition is not None
    return list(_by_condition(condition["relation"], condition["value"], name, _flat(name, columns[name])))


def column_of(wanted: str, columns: Collection[str]) -> str:
    """The one of `columns` that `wanted` names. Raises InvalidInput for another."""
    if wanted in columns:
        return wanted
    condition = _CONDITION.fullmatch(wanted.strip())
    name = condition["column"] if condition else wanted
    if name not in columns:
        known = ", ".join(sorted(columns)) or "none"
        raise InvalidInput(f"there is no column {name!r} to slice by; there are {known}")
    return name


def _flat(name: str, values_N: np.ndarray) -> np.ndarray:
    if values_N.ndim != 1:
        raise InvalidInput(f"column {name!r} has several values in a row; slice by a column with one")
    return values_N


def _by_value(name: str, values_N: np.ndarray) -> Iterator[Slice]:
    present_N = ~missing(values_N)
    if _numeric(values_N) and len(np.unique(values_N[present_N])) > _MOST_VALUES:
        yield from _quartiles(name, values_N, present_N)
    else:
        texts_N = np.array([_text(value) for value in values_N])
        found, counts = np.unique(texts_N[present_N], return_counts=True)
        for text in sorted(found[np.argsort(-counts, kind="stable")][:_MOST_VALUES].tolist(), key=_natural):
            yield Slice(f"{name} = {text}", np.flatnonzero((texts_N == text) & present_N))
    if not present_N.all():
        yield Slice(f"{name} missing", np.flatnonzero(~present_N))


def _quartiles(name: str, values_N: np.ndarray, present_N: np.ndarray) -> Iterator[Slice]:
    ends = np.unique(np.quantile(values_N[present_N], [0, 0.25, 0.5, 0.75, 1]))
    for place, (low, high) in enumerate(pairwise(ends)):
        inside_N = present_N & (values_N <= high) & ((values_N > low) | (place == 0))
        begins = f"{low:.6g} <= " if place == 0 else f"{low:.6g} < "
        yield Slice(f"{begins}{name} <= {high:.6g}", np.flatnonzero(inside_N))


def _by_condition(relation: str, value: str, name: str, values_N: np.ndarray) -> Iterator[Slice]:
    present_N = ~missing(values_N)
    if _numeric(values_N):
        try:
            bound: float | str = float(value)
        except ValueError:
            raise InvalidInput(
                f"column {name!r} holds numbers, and {value!r} is none; compare it with one"
            ) from None
        compared_N = values_N[present_N]
    else:
        bound = value
        compared_N = np.array([_text(each) for each in values_N[present_N]])
    holds_N = np.zeros(len(values_N), bool)
    holds_N[present_N] = _RELATIONS[relation](compared_N, bound)
    for said, positions in (
        (f"{name} {relation} {value}", np.flatnonzero(holds_N)),
        (f"not {name} {relation} {value}", np.flatnonzero(~holds_N)),
    ):
        if len(positions):
            yield Slice(said, positions)


def _numeric(values_N: np.ndarray) -> bool:
    return bool(values_N.dtype.kind in "fiu")


def _text(value: object) -> str:
    return f"{value:.6g}" if isinstance(value, float | np.floating) else str(value)


def _natural(text: str) -> tuple[bool, float, str]:
    """Numbers by size, then texts by alphabet."""
    try:
        return False, float(text), text
    except ValueError:
        return True, 0.0, text
