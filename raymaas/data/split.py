"""Dividing a data set into train, validation and test: seeded, every row in exactly one part.

Rows are drawn by class (stratified), by group (a column's equal values stay together), by time (train before
validation before test), or each by itself.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from itertools import combinations

import numpy as np

from raymaas.data.columns import missing
from raymaas.data.dataset import Dataset
from raymaas.data.rows import Rows
from raymaas.data.table import PARTS
from raymaas.errors import InvalidInput
from raymaas.specs.base import canonical_json
from raymaas.specs.jobs import Split

Draw = Callable[[np.ndarray, int], tuple[np.ndarray, np.ndarray]]
"""(positions of rows, how many to hold out) -> positions of the rest, and of those held out."""


@dataclass(frozen=True, eq=False)
class PartIds:
    """Which rows lie in each part: what another process needs to have the same parts."""

    train_N: np.ndarray
    """int64 [N], identities of rows"""
    validation_N: np.ndarray
    test_N: np.ndarray
    fingerprint: str

    def of(self, rows: Rows) -> Parts:
        """The parts of the data set that was divided, whose rows are `rows`."""

        def those(id_N: np.ndarray) -> Rows:
            return rows.take(np.flatnonzero(np.isin(rows.id_N, id_N)))

        return Parts(those(self.train_N), those(self.validation_N), those(self.test_N), self.fingerprint)


@dataclass(frozen=True, eq=False)
class Parts:
    """The three parts, and one fingerprint of content and division together."""

    train: Rows
    validation: Rows
    test: Rows
    fingerprint: str

    @property
    def ids(self) -> PartIds:
        return PartIds(self.train.id_N, self.validation.id_N, self.test.id_N, self.fingerprint)


def split(dataset: Dataset, how: Split) -> Parts:
    """Divide `dataset`; the same content and `how` give the same parts everywhere.

    Each part keeps the data set's order of rows. Raises InvalidInput when there are too few rows for the
    shares, too few of one class to stratify by, none that the data set itself gives to a part, or no such
    column to divide by.
    """
    stratify = how.stratify
    if stratify is None:
        stratify = dataset.card.target == "classes" and how.group is None and how.time is None
    try:
        positions = _divided(dataset, how, _way(dataset, how, stratify=stratify))
    except ValueError as error:
        asked = how.model_dump(exclude_none=True)
        raise InvalidInput(f"data set {dataset.card.name!r} cannot be split into {asked}: {error}") from None
    parts = [dataset.rows.take(position) for position in positions]
    # What is absent stays out of it: splits had no groups once, and their fingerprints are for ever.
    said = how.model_dump(mode="json", exclude_none=True) | {"stratify": stratify}
    # Over the rows themselves, not only the seed: another scikit-learn may shuffle otherwise, and that must
    # show.
    digest = hashlib.sha256(canonical_json([dataset.card.fingerprint, said]))
    for part in parts:
        digest.update(canonical_json(part.id_N.tolist()))
    return Parts(train=parts[0], validation=parts[1], test=parts[2], fingerprint=digest.hexdigest())


def _way(dataset: Dataset, how: Split, *, stratify: bool) -> Draw:
    if how.group is not None:
        return partial(_draw_groups, value_N=_column(dataset, how.group, "group"), seed=how.seed)
    if how.time is not None:
        return partial(_draw_latest, time_N=_column(dataset, how.time, "time"))
    if stratify and dataset.card.target != "classes":
        raise ValueError(
            f"its target is {dataset.card.target}, and only classes can be stratified by; leave split.stratify out"
        )
    return partial(_draw_rows, class_N=dataset.rows.y_N if stratify else None, seed=how.seed)


def _draw_rows(
    positions: np.ndarray, count: int, *, class_N: np.ndarray | None, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    from sklearn.model_selection import train_test_split  # a second to import, and only needed here

    rest, held_out = train_test_split(
        positions,
        test_size=count,
        random_state=seed,
        stratify=None if class_N is None else class_N[positions],
    )
    return np.sort(rest), np.sort(held_out)


def _draw_groups(
    positions: np.ndarray, count: int, *, value_N: np.ndarray, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Whole groups in an order the seed gives, each taken that brings the rows held out nearer to `count`."""
    _, group_N, size_G = np.unique(value_N[positions], return_inverse=True, return_counts=True)
    held_out = np.zeros(len(positions), bool)
    taken = 0
    for group in np.random.default_rng(seed).permutation(len(size_G)):
        if abs(taken + size_G[group] - count) < abs(taken - count):
            held_out |= group_N == group
            taken += size_G[group]
    return positions[~held_out], positions[held_out]


def _draw_latest(positions: np.ndarray, count: int, *, time_N: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The latest rows; those of one moment stay together, so that `count` is met as nearly as that allows."""
    moments, rows_M = np.unique(time_N[positions], return_counts=True)
    later_M = np.cumsum(rows_M[::-1])[::-1]  # rows of that moment and all after it
    first = moments[np.abs(later_M - count).argmin()]
    late = time_N[positions] >= first
    return positions[~late], positions[late]


def _divided(dataset: Dataset, how: Split, draw: Draw) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Positions of the training, validation and test rows. Raises ValueError for what is impossible."""
    rows = len(dataset.rows)
    given = {part: _given(dataset, part) for part in ("validation", "test") if getattr(how, part) == "given"}
    rest = np.setdiff1d(np.arange(rows), np.concatenate([*given.values(), np.empty(0, np.int64)]))
    if not len(rest):
        raise ValueError("its own parts leave no rows to train on; set a part to a share such as 0.2")
    left = len(rest) / rows
    for part in ("test", "validation"):
        share = getattr(how, part)
        if share != "given":
            _require_rows(rest, part)
            # Rounded up, but for the hair that a quotient of shares may lie above a whole number of rows.
            rest, given[part] = draw(rest, math.ceil(share / left * len(rest) - 1e-6))
            left -= share
    parts = rest, given["validation"], given["test"]
    _check_kept_apart(dataset, how, parts)
    for part, positions in zip(PARTS, parts, strict=True):
        _require_rows(positions, part)
    return parts


def _require_rows(positions: np.ndarray, part: str) -> None:
    if not len(positions):
        raise ValueError(f"no rows are left for {part}; change the shares, or what rows are divided by")


def _check_kept_apart(dataset: Dataset, how: Split, parts: tuple[np.ndarray, ...]) -> None:
    """The set's own parts know nothing of groups and times: what they break is refused here."""
    if "given" not in (how.test, how.validation):
        return
    for (one, first), (other, second) in combinations(zip(PARTS, parts, strict=True), 2):
        if how.group is not None:
            value_N = _column(dataset, how.group, "group")
            both = np.intersect1d(value_N[first], value_N[second])
            if len(both):
                raise ValueError(
                    f"group {both[0]!s} of {how.group!r} lies in its own {other} part and in {one}"
                )
        if how.time is not None and len(first) and len(second):
            time_N = _column(dataset, how.time, "time")
            if time_N[first].max() >= time_N[second].min():
                raise ValueError(f"rows of {one} are not all earlier by {how.time!r} than those of {other}")


def _column(dataset: Dataset, column: str, use: str) -> np.ndarray:
    """Its values, none of them missing; text as such, so that it sorts like ISO 8601 dates do."""
    rows = dataset.rows
    known = {**rows.columns, **rows.kept}
    if column not in known:
        raise ValueError(f"it has no column {column!r}; its columns are {', '.join(known) or 'none'}")
    values = known[column]
    absent = np.flatnonzero(missing(values))
    if len(absent):
        raise ValueError(f"column {column!r} has no {use} in row {rows.id_N[absent[0]]}; fill or drop it")
    if values.ndim > 1:
        raise ValueError(f"column {column!r} has several values in a row; a {use} is one")
    return values.astype(str) if values.dtype == object else values


def _given(dataset: Dataset, part: str) -> np.ndarray:
    """Positions of the rows that the data set itself gives to `part`."""
    if part not in dataset.card.own_parts:
        own = f"only {', '.join(dataset.card.own_parts)}" if dataset.card.own_parts else "no division"
        raise ValueError(f"it brings {own} of its own; set split.{part} to a share such as 0.2")
    return np.flatnonzero(dataset.part_N == PARTS[part])
