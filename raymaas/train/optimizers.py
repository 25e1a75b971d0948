"""Optimizers: the update rule a job names, its learning rate and its state."""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from typing import Any

import torch
from torch import nn

from raymaas.specs.jobs import Training

State = Mapping[int, Mapping[str, Any]]
"""By the parameter's index, then by name: tensors, numbers, lists of either, None."""


def make_optimizer(network: nn.Module, training: Training) -> torch.optim.Optimizer:
    """The update rule `training` names, in torch's fused form where there is one: one pass over the parameters."""
    rate, decay = training.learning_rate, training.weight_decay
    parameters = [parameter for parameter in network.parameters() if parameter.requires_grad]
    betas = training.betas or (0.9, 0.999)
    match training.optimizer:
        case "adam":
            return torch.optim.Adam(parameters, lr=rate, betas=betas, weight_decay=decay, fused=True)
        case "adamw":
            return torch.optim.AdamW(parameters, lr=rate, betas=betas, weight_decay=decay, fused=True)
        case "sgd":
            return torch.optim.SGD(
                parameters,
                lr=rate,
                momentum=training.momentum,
                nesterov=training.nesterov,
                weight_decay=decay,
                # torch 2.13 cannot run it fused on shards; Adam it can. Shards are known by a method of theirs: to
                # import their class takes a second, of every worker.
                fused=not any(hasattr(parameter, "to_local") for parameter in parameters),
            )
        case "lbfgs":
            # The change of a float32 loss is rounding long before it is 1e-9, torch's default.
            return torch.optim.LBFGS(
                parameters, tolerance_grad=0, tolerance_change=0, line_search_fn="strong_wolfe"
            )


def set_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """Make `rate` the learning rate of the next step."""
    for group in optimizer.param_groups:
        group["lr"] = rate


def restore(optimizer: torch.optim.Optimizer, state: State) -> None:
    """Put back what `optimizer.state_dict()["state"]` was: the next step is the one that would have followed.

    `state` is copied, so that it can be restored again.
    """
    groups = optimizer.state_dict()["param_groups"]  # as the job says now: a checkpoint holds no settings
    optimizer.load_state_dict({"state": deepcopy(dict(state)), "param_groups": groups})
