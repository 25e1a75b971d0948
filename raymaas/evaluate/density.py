"""Density: the evidence lower bound, how likely a model holds the rows to be at least.

Legend: N rows, D values of a row.
"""

from __future__ import annotations

import numpy as np

from raymaas.evaluate.intervals import CONFIDENCE, mean
from raymaas.evaluate.scored import Scored, mean_of

_SEED = 0  # of what a binary row is drawn by: one and the same for all versions, so that they can be compared


def binarised(x_ND: np.ndarray, *, scale: float) -> np.ndarray:
    """Each value drawn as 0 or 1 with chance value * scale, and back on the scale of the data.

    The rows of which such a model is the density (R. Salakhutdinov, I. Murray, On the Quantitative Analysis of Deep
    Belief Networks, 2008); drawn by a generator of its own, the same for the same rows.
    """
    draw = np.random.default_rng(_SEED)
    return (draw.random(x_ND.shape) < x_ND * scale).astype(np.float32) / np.float32(scale)


def score(elbo_N: np.ndarray, *, confidence: float = CONFIDENCE) -> Scored:
    """`elbo`, the mean over the rows in nats, with its normal interval."""
    return Scored({"elbo": mean(elbo_N, confidence=confidence)}, {"elbo": mean_of(elbo_N)}, {"elbo": elbo_N})
