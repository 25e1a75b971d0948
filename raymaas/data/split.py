"""Dividing a data set into train, validation and test: seeded, stratified, every row in exactly one part."""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass

import numpy as np

from raymaas.data.dataset import Dataset
from raymaas.data.rows import Rows
from raymaas.data.table import PARTS
from raymaas.errors import InvalidInput
from raymaas.specs.base import canonical_json
from raymaas.specs.jobs import Split


@dataclass(frozen=True, eq=False)
class Parts:
    """The three parts, and one fingerprint of content and division together."""

    train: Rows
    validation: Rows
    test: Rows
    fingerprint: str


def split(dataset: Dataset, how: Split) -> Parts:
    """Divide `dataset`; the same content and `how` give the same parts everywhere.

    Each part keeps the data set's order of rows. Raises InvalidInput when there are too few rows for the
    shares, too few of one class to stratify by, or none that the data set itself gives to a part.
    """
    try:
        positions = _divided(dataset, how)
    except ValueError as error:
        raise InvalidInput(
            f"data set {dataset.card.name!r} cannot be split into {how.model_dump()}: {error}"
        ) from None
    parts = [dataset.rows.take(position) for position in positions]
    # Over the rows themselves, not only the seed: another scikit-learn may shuffle otherwise, and that must
    # show.
    digest = hashlib.sha256(canonical_json([dataset.card.fingerprint, how.model_dump(mode="json")]))
    for part in parts:
        digest.update(canonical_json(part.id_N.tolist()))
    return Parts(train=parts[0], validation=parts[1], test=parts[2], fingerprint=digest.hexdigest())


def _divided(dataset: Dataset, how: Split) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Positions of the training, validation and test rows. Raises ValueError for what is impossible."""
    from sklearn.model_selection import train_test_split  # a second to import, and only needed here

    y_N = dataset.rows.y_N

    def draw(positions: np.ndarray, share: float) -> tuple[np.ndarray, np.ndarray]:
        rest, held_out = train_test_split(
            positions,
            # Rounded up, but for the hair that a quotient of shares may lie above a whole number of rows.
            test_size=math.ceil(share * len(positions) - 1e-6),
            random_state=how.seed,
            stratify=y_N[positions] if how.stratify else None,
        )
        return np.sort(rest), np.sort(held_out)

    given = {part: _given(dataset, part) for part in ("validation", "test") if getattr(how, part) == "given"}
    rest = np.setdiff1d(np.arange(len(y_N)), np.concatenate([*given.values(), np.empty(0, np.int64)]))
    if not len(rest):
        raise ValueError("its own parts leave no rows to train on; set a part to a share such as 0.2")
    left = len(rest) / len(y_N)
    if how.test == "given":
        test = given["test"]
    else:
        rest, test = draw(rest, how.test / left)
        left -= how.test
    if how.validation == "given":
        return rest, given["validation"], test
    train, validation = draw(rest, how.validation / left)
    return train, validation, test


def _given(dataset: Dataset, part: str) -> np.ndarray:
    """Positions of the rows that the data set itself gives to `part`."""
    if part not in dataset.card.own_parts:
        own = f"only {', '.join(dataset.card.own_parts)}" if dataset.card.own_parts else "no division"
        raise ValueError(f"it brings {own} of its own; set split.{part} to a share such as 0.2")
    return np.flatnonzero(dataset.part_N == PARTS[part])
