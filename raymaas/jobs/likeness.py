"""Likeness: how far what a compressed network makes is from what its parent makes of the same codes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

import numpy as np

from raymaas.evaluate.adversarial import sample_error
from raymaas.jobs.judging import Subject
from raymaas.jobs.sampling import METHOD, drawn
from raymaas.registry.versions import Versions
from raymaas.specs.evaluation import SAMPLE_ERROR
from raymaas.specs.versions import ModelVersion, Signature

_SAMPLES, _SEED = 256, 0


@dataclass(frozen=True, eq=False)
class Likeness:
    """What a parent makes of a fixed seed of codes; nothing of one that is not for making rows."""

    signature: Signature | None = None
    theirs_SD: np.ndarray | None = None

    @classmethod
    def of(cls, versions: Versions, parent: ModelVersion) -> Self:
        """Asks the parent's own files, verified."""
        if parent.task != "adversarial" or METHOD not in parent.methods:
            return cls()
        signature = parent.methods[METHOD]
        made = drawn(Subject.of_version(versions, parent), signature, samples=_SAMPLES, seed=_SEED)
        return cls(signature, made)

    def figures(self, subject: Subject) -> Mapping[str, float]:
        """`sample_error` of a network of the same methods; nothing where there is nothing to compare.

        Raises RunFailed as `sample_error` and `answers` do.
        """
        if self.signature is None or self.theirs_SD is None:
            return {}
        ours_SD = drawn(subject, self.signature, samples=_SAMPLES, seed=_SEED)
        return {SAMPLE_ERROR: sample_error(ours_SD, self.theirs_SD)}


NOTHING_TO_COMPARE = Likeness()
