"""Losses: what a batch of logits or predictions costs, summed over its rows.

Legend: B rows of a batch, C classes.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch.nn.functional import (
    binary_cross_entropy_with_logits,
    cross_entropy,
    huber_loss,
    l1_loss,
    mse_loss,
    relu,
)

from raymaas.errors import InvalidInput
from raymaas.specs.jobs import Training

LossSum = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
"""(what the network gave float32 [B, ...], y_B) -> the sum of the rows' losses, without dimensions; 0 for no rows."""


def make_loss(training: Training, *, weights_C: torch.Tensor | None) -> LossSum:
    """The loss of logits [B, C] that `training` names, a row of class c counting `weights_C[c]` times."""

    def rows_loss(logits_BC: torch.Tensor, y_B: torch.Tensor, reduction: str) -> torch.Tensor:
        if training.loss in ("hinge", "bce"):
            losses_B = (hinge if training.loss == "hinge" else one_against_rest)(logits_BC, y_B)
            return losses_B.sum() if reduction == "sum" else losses_B
        return cross_entropy(logits_BC, y_B, reduction=reduction, label_smoothing=training.label_smoothing)

    def weighted(logits_BC: torch.Tensor, y_B: torch.Tensor) -> torch.Tensor:
        assert weights_C is not None
        return (rows_loss(logits_BC, y_B, "none") * weights_C[y_B]).sum()

    def plain(logits_BC: torch.Tensor, y_B: torch.Tensor) -> torch.Tensor:
        return rows_loss(logits_BC, y_B, "sum")

    return plain if weights_C is None else weighted


def hinge(logits_BC: torch.Tensor, y_B: torch.Tensor) -> torch.Tensor:
    """Each row's sum over the classes of max(0, 1 - t z), with t = 1 for its own class and -1 for the rest.

    C one-against-rest machines at once (C. Cortes, V. Vapnik, Support-Vector Networks, 1995). With the penalty
    `l2` it is scikit-learn's objective for C = 1 / (l2 * rows), divided by C * rows.
    """
    signs_BC = torch.full_like(logits_BC, -1.0).scatter_(1, y_B[:, None], 1.0)
    return relu(1 - signs_BC * logits_BC).sum(dim=1)


def one_against_rest(logits_BC: torch.Tensor, y_B: torch.Tensor) -> torch.Tensor:
    """Each row's sum over the classes of the binary cross-entropy of "it is this class"."""
    own_BC = torch.zeros_like(logits_BC).scatter_(1, y_B[:, None], 1.0)
    return binary_cross_entropy_with_logits(logits_BC, own_BC, reduction="none").sum(dim=1)


def regression_loss(training: Training) -> LossSum:
    """The loss of predictions [B] that `training` names: squares, absolute values, or P. J. Huber's (1964) with
    its corner at 1, which is half a square before and a line behind."""
    match training.loss:
        case "mae":
            return partial(l1_loss, reduction="sum")
        case "huber":
            return partial(huber_loss, reduction="sum")
    return partial(mse_loss, reduction="sum")


def class_weights(training: Training, *, y_N: torch.Tensor, classes: int) -> torch.Tensor | None:
    """How much a row counts by its class, float32 [C], or None when all count the same.

    "balanced" gives every class the same part of the whole and keeps the mean over the rows at 1. Raises
    InvalidInput when weights were given for another number of classes.
    """
    match training.class_weights:
        case None:
            return None
        case "balanced":
            counts_C = torch.bincount(y_N, minlength=classes)
            present = int((counts_C > 0).sum())
            return len(y_N) / (present * counts_C.clamp(min=1).float())
        case given:
            if len(given) != classes:
                raise InvalidInput(
                    f"training.class_weights has {len(given)} weights, but there are {classes} classes; "
                    "give one for each, or balanced"
                )
            return torch.tensor(given, device=y_N.device)
