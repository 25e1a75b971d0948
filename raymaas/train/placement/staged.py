"""A network cut in two: the first worker has the front half, the second the back half, and both work on the same rows.

Y. Huang et al., GPipe: Efficient Training of Giant Neural Networks using Pipeline Parallelism (2019): a batch is cut
in pieces, all go forward through both halves, then all gradients come back, so that the halves work at the same time.
A weight that both halves use, such as a tied embedding, is on both workers; they add up its gradient and take the same
step.
Legend: B rows of a piece.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import reduce
from typing import Any

import torch
import torch.distributed as dist
from torch import nn
from torch.nn.utils import clip_grads_with_norm_, get_total_norm

from raymaas.models.chain import cut, links, through
from raymaas.models.networks import Network
from raymaas.train.optimizers import State, restore
from raymaas.train.placement.base import Piece, Placed, Work
from raymaas.train.world import World

_FIRST, _LAST = 0, 1
_DIMENSIONS = 8  # the most that a tensor between the halves may have


class Staged(Placed):
    """Over the two workers of torch's default process group, which must be those of `world`.

    Raises InvalidInput, saying why, when the network has no two halves with something to train in each.
    """

    pieces = 4  # a fifth of the time, 1 / (pieces + 1), one of the two waits for the other

    def __init__(self, network: Network, world: World) -> None:
        chain = links(network)
        front = cut(chain)
        self._is_first = world.rank == _FIRST
        self._links, others = chain[:front], chain[front:]
        if not self._is_first:
            self._links, others = others, self._links
        here, there = (
            {weight for link in half for weight in link.parameters} for half in (self._links, others)
        )
        trained = [weight for weight in network.parameters() if weight.requires_grad]
        self._places = [place for place, weight in enumerate(trained) if weight not in there - here]
        self._trained = [trained[place] for place in self._places]
        self._shared = [weight for weight in self._trained if weight in there]
        _forget(network, there - here)
        for weight in network.parameters():
            weight.data = weight.data.to("meta" if weight.is_meta else world.device)
        self.network = network
        self.world = World(
            rank=0, size=1, device=world.device, all_reduce=_of_the_last, wrap=lambda module: module
        )

    def gradient(self, pieces: Sequence[Piece], work: Work) -> torch.Tensor:
        if self._is_first:
            given = [self._given(piece.x_BD, piece, work) for piece in pieces]
            sent = [_send(given_B.detach(), to=_LAST) for given_B in given]
            for given_B in given:
                given_B.backward(self._receive(_LAST))  # type: ignore[no-untyped-call]
            losses = [torch.zeros((), device=self.world.device)]
        else:
            between = [self._receive(_FIRST).requires_grad_() for _ in pieces]
            summed = [
                # A copy, since a network of the user's own may write over what it is given.
                work.loss(self._given(between_B.clone(), piece, work), piece)
                for between_B, piece in zip(between, pieces, strict=True)
            ]
            for loss, piece in zip(summed, pieces, strict=True):
                loss.backward(piece.scale)  # type: ignore[no-untyped-call]
            sent = [_send(_gradient(between_B), to=_FIRST) for between_B in between]
            losses = [loss.detach() for loss in summed]
        for message in sent:
            message.wait()
        for weight in self._shared:
            weight.grad = _gradient(weight)
            dist.all_reduce(weight.grad)
        return reduce(torch.add, losses)

    def given(self, piece: Piece, work: Work) -> torch.Tensor:
        """The same on both workers."""
        here_B = piece.x_BD if self._is_first else self._receive(_FIRST)
        given_B = self._given(here_B, piece, work)
        message = _send(given_B, to=_LAST if self._is_first else _FIRST)
        if self._is_first:
            given_B = self._receive(_LAST)
        message.wait()
        return given_B

    def clip(self, max_norm: float) -> None:
        shared = {} if self._is_first else set(self._shared)  # counted once
        counted = [weight for weight in self._trained if weight not in shared]
        squared = get_total_norm([weight.grad for weight in counted if weight.grad is not None]).square()
        dist.all_reduce(squared)
        clip_grads_with_norm_(self._trained, max_norm, squared.sqrt())

    @property
    def keeps(self) -> bool:
        return self._is_first

    def weights(self) -> dict[str, torch.Tensor]:
        mine = {
            name: tensor.detach().cpu().clone()
            for name, tensor in self.network.state_dict().items()
            if not tensor.is_meta
        }
        gathered = _gathered(mine)
        return {name: gathered[name] for name in self.network.state_dict()} if gathered else {}

    def optimizer_state(self, optimizer: torch.optim.Optimizer) -> State:
        mine = {self._places[index]: values for index, values in optimizer.state_dict()["state"].items()}
        return _gathered(mine)

    def restore(
        self, weights: Mapping[str, torch.Tensor], optimizer: torch.optim.Optimizer, state: State
    ) -> None:
        here = [name for name, tensor in self.network.state_dict().items() if not tensor.is_meta]
        self.network.load_state_dict({name: weights[name] for name in here}, strict=False)
        restore(
            optimizer, {index: state[place] for index, place in enumerate(self._places) if place in state}
        )

    def _given(self, between_B: torch.Tensor, piece: Piece, work: Work) -> torch.Tensor:
        """What this half gives for what the half before gave, or for the rows."""

        def compute(given_B: torch.Tensor) -> torch.Tensor:
            return through(self._links, given_B, piece.x_BD)

        return work.given(compute, between_B, piece)

    def _receive(self, source: int) -> torch.Tensor:
        """What the other half sent next, float32 of any shape."""
        header = torch.empty(_DIMENSIONS + 1, dtype=torch.int64, device=self.world.device)
        dist.recv(header, source)
        dimensions, *shape = header.tolist()
        tensor = torch.empty(shape[:dimensions], device=self.world.device)
        dist.recv(tensor, source)
        return tensor


class _Message:
    """A tensor on its way, which must be kept until it is there."""

    def __init__(self, tensors: Sequence[torch.Tensor], to: int) -> None:
        self._tensors = tensors
        self._under_way = [dist.isend(tensor, to) for tensor in tensors]

    def wait(self) -> None:
        for each in self._under_way:
            if each is not None:
                each.wait()


def _send(tensor: torch.Tensor, *, to: int) -> _Message:
    shape = [tensor.dim(), *tensor.shape, *[0] * (_DIMENSIONS - tensor.dim())]
    return _Message((torch.tensor(shape, device=tensor.device), tensor.float().contiguous()), to)


def _gradient(tensor: torch.Tensor) -> torch.Tensor:
    """Zeros where this half found none: the other one waits for it all the same."""
    return torch.zeros_like(tensor) if tensor.grad is None else tensor.grad


def _of_the_last(tensor: torch.Tensor) -> torch.Tensor:
    """What the last worker has: both had the same rows, and it had the losses."""
    whole = tensor.clone()
    dist.broadcast(whole, _LAST)
    return whole


def _gathered(mine: Mapping[Any, Any]) -> dict[Any, Any]:
    """Of both workers on the first; nothing on the other."""
    parts: list[Mapping[Any, Any]] = [{}, {}]
    dist.gather_object(mine, parts if dist.get_rank() == _FIRST else None, dst=_FIRST)
    return {key: value for part in parts for key, value in sorted(part.items())}


def _forget(network: nn.Module, weights: set[nn.Parameter]) -> None:
    """Leave of those parameters their names and shapes only."""
    for module in network.modules():
        for name, weight in list(module.named_parameters(recurse=False)):
            if weight in weights:
                setattr(module, name, nn.Parameter(weight.to("meta"), requires_grad=False))
