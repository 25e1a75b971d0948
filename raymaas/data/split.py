"""Dividing a data set into train, validation and test: seeded, stratified, every row in exactly one part."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np

from raymaas.data.dataset import Dataset
from raymaas.data.rows import Rows
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
    shares, or too few of one class to stratify by.
    """
    from sklearn.model_selection import train_test_split  # a second to import, and only needed here

    y_N = dataset.rows.y_N
    everything = np.arange(len(y_N))

    def divide(positions: np.ndarray, share: float) -> tuple[np.ndarray, np.ndarray]:
        rest, held_out = train_test_split(
            positions,
            test_size=share,
            random_state=how.seed,
            stratify=y_N[positions] if how.stratify else None,
        )
        return np.sort(rest), np.sort(held_out)

    try:
        rest, test = divide(everything, how.test)
        train, validation = divide(rest, how.validation / (1 - how.test))
    except ValueError as error:
        raise InvalidInput(
            f"data set {dataset.card.name!r} cannot be split into {how.model_dump()}: {error}"
        ) from None
    parts = [dataset.rows.take(positions) for positions in (train, validation, test)]
    # Over the rows themselves, not only the seed: another scikit-learn may shuffle otherwise, and that must
    # show.
    digest = hashlib.sha256(canonical_json([dataset.card.fingerprint, how.model_dump(mode="json")]))
    for part in parts:
        digest.update(canonical_json(part.id_N.tolist()))
    return Parts(train=parts[0], validation=parts[1], test=parts[2], fingerprint=digest.hexdigest())
