"""What a weight is worth: four answers, each a tensor of the weight's shape, the larger the better.

magnitude    |w|
activation   |w| times the root mean square of what it multiplies (M. Sun et al., A Simple and Effective Pruning
             Approach for Large Language Models, 2023): weights on pixels that are always blank go first
taylor       (w dL/dw)^2, how much the loss changes without it, to first order (P. Molchanov et al., Importance
             Estimation for Neural Network Pruning, 2019), its mean over batches
movement     -sum of w dL/dw over the steps so far: weights that training moves away from zero stay (V. Sanh et
             al., Movement Pruning, 2020)
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import torch
from torch import nn
from torch.nn.modules.conv import _ConvNd

from raymaas.compress.distill import loss_of
from raymaas.compress.subject import Subject
from raymaas.compress.weights import Weight

Score = Literal["magnitude", "activation", "taylor", "movement"]

_ROWS = 4096  # of the training rows that are looked at: the scores need no more
_BATCH = 256


def magnitude(subject: Subject) -> dict[str, torch.Tensor]:
    return {name: weight.parameter.detach().abs() for name, weight in subject.matrices.items()}


@torch.no_grad()
def activation(subject: Subject) -> dict[str, torch.Tensor]:
    rms = input_rms(subject)
    return {name: worth * rms.get(name, 1.0) for name, worth in magnitude(subject).items()}


def taylor(subject: Subject) -> dict[str, torch.Tensor]:
    weights = subject.matrices
    worth = {name: torch.zeros_like(weight.parameter) for name, weight in weights.items()}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(subject.seed)
        for batch_B in torch.split(torch.arange(min(_ROWS, len(subject.x_ND))), _BATCH):
            subject.network.zero_grad()
            loss_of(subject, batch_B).backward()  # type: ignore[no-untyped-call]
            for name, weight in weights.items():
                if weight.parameter.grad is not None:
                    worth[name] += (weight.parameter.detach() * weight.parameter.grad).square()
    subject.network.zero_grad()
    return worth


class Movement:
    """Adds up how the steps of a fine-tuning move each weight away from zero. Before the first step: its magnitude."""

    def __init__(self, subject: Subject) -> None:
        self._weights = subject.matrices
        self._sums: dict[str, torch.Tensor] = {}

    @torch.no_grad()
    def watch(self) -> None:
        """Called before each step of the optimizer."""
        for name, weight in self._weights.items():
            if weight.parameter.grad is not None:
                # Of the weight itself, also where it is masked.
                step = -weight.moved * weight.parameter.grad
                self._sums[name] = self._sums[name] + step if name in self._sums else step

    def worth(self) -> Mapping[str, torch.Tensor]:
        return {
            name: self._sums.get(name, weight.parameter.detach().abs())
            for name, weight in self._weights.items()
        }


@torch.no_grad()
def input_rms(subject: Subject) -> dict[str, torch.Tensor]:
    """Root mean square of what each matrix multiplies, in a shape that broadcasts over it; where it is to be seen.

    Of an embedding that is the square root of how often a token comes; of recurrent cells, one number for what comes
    in and one for the state.
    """
    found: dict[str, torch.Tensor] = {}
    handles = [
        weight.module.register_forward_hook(_watching(weight, found)) for weight in subject.matrices.values()
    ]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(subject.seed)
        subject.network(subject.x_ND[:_ROWS])
    for handle in handles:
        handle.remove()
    return found


def _watching(weight: Weight, found: dict[str, torch.Tensor]) -> Any:
    def keep(module: nn.Module, inputs: tuple[torch.Tensor, ...], output: Any) -> None:
        match module:
            case nn.Linear():
                found[weight.name] = _rms(inputs[0], keep=-1)
            case _ConvNd():
                rms_K = _rms(inputs[0], keep=1)
                groups = rms_K.view(module.groups, -1).repeat_interleave(
                    module.out_channels // module.groups, dim=0
                )
                found[weight.name] = groups.view(*groups.shape, *[1] * len(module.kernel_size))
            case nn.Embedding():
                counts = torch.bincount(inputs[0].flatten().long(), minlength=module.num_embeddings)
                found[weight.name] = (counts / inputs[0].numel()).sqrt()[:, None]
            case nn.RNNBase():
                seen = inputs[0] if weight.name.endswith("weight_ih_l0") else output[0]
                found[weight.name] = seen.square().mean().sqrt()

    return keep


def _rms(values: torch.Tensor, *, keep: int) -> torch.Tensor:
    others = [dimension for dimension in range(values.dim()) if dimension != keep % values.dim()]
    return values.square().mean(dim=others).sqrt()
