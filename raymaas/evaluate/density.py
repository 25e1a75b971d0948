"""Density: the evidence lower bound, how likely a model holds the rows to be at least.

Legend: N rows, D values of a row.
"""

from __future__ import annotations

import numpy as np

from raymaas.evaluate.intervals import CONFIDENCE, mean
from raymaas.evaluate.scored import Scored, mean_of


def score(elbo_N: np.ndarray, *, confidence: float = CONFIDENCE) -> Scored:
    """`elbo`, the mean over the rows in nats, with its normal interval."""
    return Scored({"elbo": mean(elbo_N, confidence=confidence)}, {"elbo": mean_of(elbo_N)}, {"elbo": elbo_N})
