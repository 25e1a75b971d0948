"""What a weight is worth: four answers, each a tensor of the weight's shape, the larger the better.

magnitude    |w|
activation   |w| times the root mean square of what it multiplies (M. Sun et al., A Simple and Effective Pruning
             Approach for Large Language Models, 2023): weights on pixels that are always blank go first
taylor       (w dL/dw)^2, how much the loss changes without it, to first order (P. Molchanov et al., Importance
             Estimation for Neural Network Pruning, 2019), added up over batches
movement     -sum of w dL/dw over the steps so far: weights that training moves away from zero stay (V. Sanh et
             al., Movement Pruning, 2020)
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Literal

import torch
from torch import nn
from torch.nn.modules.conv import _ConvNd

from raymaas.compress.distill import loss_of
from raymaas.compress.subject import Subject
from raymaas.compress.weights import Weight

Standing = Literal["magnitude", "activation", "taylor"]
"""What is known of a network as it stands; movement is known of one that has been training."""

Score = Literal[Standing, "movement"]

_ROWS = 4096  # of the training rows that are looked at: the scores need no more
_BATCH = 256


def standing(subject: Subject, score: Standing) -> dict[str, torch.Tensor]:
    """What each weight of the matrices is worth now, by that score."""
    return {"magnitude": magnitude, "activation": activation, "taylor": taylor}[score](subject)


def magnitude(subject: Subject) -> dict[str, torch.Tensor]:
    return {name: weight.parameter.detach().abs() for name, weight in subject.matrices.items()}


def activation(subject: Subject) -> dict[str, torch.Tensor]:
    rms = input_rms(subject)
    return {name: worth * rms.get(name, 1.0) for name, worth in magnitude(subject).items()}


def taylor(subject: Subject) -> dict[str, torch.Tensor]:
    weights = subject.matrices
    worth = {name: torch.zeros_like(weight.parameter) for name, weight in weights.items()}
    for _ in _losses(subject):
        for name, weight in weights.items():
            if weight.parameter.grad is not None:
                worth[name] += (weight.parameter.detach() * weight.parameter.grad).square()
    return worth


class Movement:
    """Adds up how the steps of a fine-tuning move each weight away from zero."""

    def __init__(self, subject: Subject) -> None:
        self._weights = subject.matrices
        self._sums = {name: torch.zeros_like(weight.parameter) for name, weight in self._weights.items()}

    @torch.no_grad()
    def watch(self) -> None:
        """Called before each step of the optimizer."""
        for name, weight in self._weights.items():
            if weight.parameter.grad is not None:
                self._sums[name] -= weight.parameter * weight.parameter.grad

    def worth(self) -> Mapping[str, torch.Tensor]:
        return self._sums


def input_rms(subject: Subject) -> dict[str, torch.Tensor]:
    """Root mean square of what each matrix multiplies, in a shape that broadcasts over it; where it is to be seen.

    Of recurrent cells it is one number for what comes in and one for the state. What is looked up, as in an
    embedding, is not among them.
    """
    squares: dict[str, torch.Tensor] = {}
    counts: dict[str, int] = {}

    def watching(weight: Weight) -> Callable[[nn.Module, tuple[torch.Tensor, ...], Any], None]:
        @torch.no_grad()
        def keep(module: nn.Module, inputs: tuple[torch.Tensor, ...], output: Any) -> None:
            seen = _multiplied(weight, inputs[0], output)
            if seen is not None:
                summed, count = seen
                squares[weight.name] = squares.get(weight.name, torch.zeros(())) + summed
                counts[weight.name] = counts.get(weight.name, 0) + count

        return keep

    handles = [weight.module.register_forward_hook(watching(weight)) for weight in subject.matrices.values()]
    for _ in _losses(subject):
        pass
    for handle in handles:
        handle.remove()
    return {name: (summed / counts[name]).sqrt() for name, summed in squares.items()}


def _losses(subject: Subject) -> Iterator[None]:
    """Lets the network go through some rows, drawn by the seed; at each stop the gradients are those of a batch."""
    seed = torch.Generator().manual_seed(subject.seed)
    rows_N = torch.randperm(len(subject.x_ND), generator=seed)[:_ROWS]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(subject.seed)
        for batch_B in torch.split(rows_N, _BATCH):
            subject.network.zero_grad()
            loss_of(subject, batch_B).backward()  # type: ignore[no-untyped-call]
            yield
    subject.network.zero_grad()


def _multiplied(weight: Weight, x_B: torch.Tensor, output: Any) -> tuple[torch.Tensor, int] | None:
    """Sum of squares of what `weight` multiplied in one call, in a shape that broadcasts over it, and of how many."""
    match weight.module:
        case nn.Linear():
            return x_B.square().flatten(end_dim=-2).sum(dim=0), x_B[..., 0].numel()
        case _ConvNd(transposed=False) as layer:
            squares_K = x_B.square().transpose(0, 1).flatten(start_dim=1).sum(dim=1)
            grouped = squares_K.view(layer.groups, -1).repeat_interleave(
                layer.out_channels // layer.groups, dim=0
            )
            return grouped.view(*grouped.shape, *[1] * len(layer.kernel_size)), x_B[:, 0].numel()
        case nn.RNNBase():
            seen = x_B if weight.name.endswith("weight_ih_l0") else output[0]
            return seen.square().sum(), seen.numel()
    return None
