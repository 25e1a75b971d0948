"""Objectives: what a fit minimises and what it tells of, by the task of its network.

Legend: B rows of a batch, C classes, K terms of a network's own loss.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch

from raymaas.errors import InvalidInput
from raymaas.models.networks import Classifier, Network, Regressor, SelfSupervised
from raymaas.specs.jobs import Loss, Training
from raymaas.train.losses import LossSum, class_weights, make_loss, regression_loss

FigureSums = Callable[[torch.Tensor, torch.Tensor], Mapping[str, torch.Tensor]]
"""(what the network gave [B, ...], y_B) -> sums over the rows, by the name of what their mean is."""


@dataclass(frozen=True)
class Objective:
    """Both are sums over rows: their means do not depend on how the rows were cut."""

    loss: LossSum
    figures: FigureSums


def make_objective(
    network: Network, training: Training, *, x_ND: torch.Tensor, y_N: torch.Tensor
) -> Objective:
    """What `training` of `network` minimises on those rows.

    Raises InvalidInput when `training.loss` is not for such a network, or class weights do not fit the classes.
    """
    match network:
        case Classifier():
            _check_loss(training, "cross_entropy", "bce", "hinge", of="a classifier")
            weights_C = None
            if training.class_weights is not None:
                weights_C = class_weights(training, y_N=y_N, classes=_classes(network, x_ND))
            return Objective(make_loss(training, weights_C=weights_C), _correct)
        case Regressor():
            _check_loss(training, "mse", "mae", "huber", of="a regressor")
            return Objective(regression_loss(training), _errors)
        case SelfSupervised():
            _check_loss(training, of="a network with a loss of its own")
            return Objective(lambda terms_BK, _: terms_BK.sum(), _weighted(network.figures))
    raise TypeError(f"{type(network).__name__} has no objective")


def _check_loss(training: Training, *losses: Loss, of: str) -> None:
    if training.loss not in ("auto", *losses):
        known = f"it has {', '.join(losses)}" if losses else "leave training.loss out"
        raise InvalidInput(f"training.loss {training.loss} is not for {of}; {known}")
    if training.class_weights is not None and "cross_entropy" not in losses:
        raise InvalidInput(f"training.class_weights are for a classifier, not for {of}; leave them out")


@torch.no_grad()
def _classes(network: Classifier, x_ND: torch.Tensor) -> int:
    network.eval()
    classes: int = network(x_ND[:1].to(network.device)).shape[1]
    return classes


def _correct(logits_BC: torch.Tensor, y_B: torch.Tensor) -> Mapping[str, torch.Tensor]:
    return {"accuracy": (logits_BC.argmax(dim=1) == y_B).sum()}


def _errors(prediction_B: torch.Tensor, y_B: torch.Tensor) -> Mapping[str, torch.Tensor]:
    error_B = prediction_B - y_B
    return {"mse": error_B.square().sum(), "mae": error_B.abs().sum()}


def _weighted(figures: Mapping[str, tuple[float, ...]]) -> FigureSums:
    def sums(terms_BK: torch.Tensor, _: torch.Tensor) -> Mapping[str, torch.Tensor]:
        terms_K = terms_BK.sum(dim=0)
        return {name: terms_K @ terms_K.new_tensor(weights) for name, weights in figures.items()}

    return sums
