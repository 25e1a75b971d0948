"""Density: the evidence lower bound, how likely a model holds the rows to be at least.

Legend: N rows, D values of a row.
"""

from __future__ import annotations

import numpy as np

from raymaas.evaluate.intervals import CONFIDENCE, mean
from raymaas.evaluate.scored import Scored, mean_of

_SEED = 0  # of what a binary row is drawn by: one and the same for all versions, so that they can be compared


def draws() -> np.random.Generator:
    """What binary rows are drawn from, from the first of them on: the same for the same rows, however they are cut."""
    return np.random.default_rng(_SEED)


def binarised(x_ND: np.ndarray, *, scale: float, draw: np.random.Generator) -> np.ndarray:
    """Each value drawn as 0 or 1 with chance value * scale, and back on the scale of the data.

    The rows of which such a model is the density (R. Salakhutdinov, I. Murray, On the Quantitative Analysis of Deep
    Belief Networks, 2008).
    """
    return (draw.random(x_ND.shape) < x_ND * scale).astype(np.float32) / np.float32(scale)


def score(elbo_N: np.ndarray, *, confidence: float = CONFIDENCE) -> Scored:
    """`elbo`, the mean over the rows in nats, with its normal interval."""
    return Scored({"elbo": mean(elbo_N, confidence=confidence)}, {"elbo": mean_of(elbo_N)}, {"elbo": elbo_N})
