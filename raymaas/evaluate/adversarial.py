"""Adversarial: what a discriminator makes of real rows, and what a classifier finds among a generator's samples.

Legend: N rows, S samples, C classes.
"""

from __future__ import annotations

import numpy as np

from raymaas.evaluate.intervals import CONFIDENCE, mean, proportion
from raymaas.evaluate.scored import Scored, mean_of


def score(real_N: np.ndarray, *, confidence: float = CONFIDENCE) -> Scored:
    """`accuracy_on_data`, the share of real rows that the discriminator holds for real, and its mean `real`.

    Neither says that samples are good: a discriminator that cannot tell them apart is at 0.5 for all. Samples are
    judged by a classifier, see `found`.
    """
    taken_N = real_N > 0.5
    return Scored(
        {
            "accuracy_on_data": proportion(int(taken_N.sum()), len(real_N), confidence=confidence),
            "real": mean(real_N, confidence=confidence),
        },
        {"accuracy_on_data": mean_of(taken_N), "real": mean_of(real_N)},
        {"real": real_N},
    )
