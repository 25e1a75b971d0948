"""Gradients of workers on the CPUs of one machine, averaged through memory that they share.

gloo hands every message through two more threads and the loopback interface, which for a small network takes longer
than the step itself. Here each worker writes its gradient beside the others', averages one part of all of them, and
reads the whole: a reduce-scatter and an all-gather (R. Thakur et al., Optimization of Collective Communication
Operations in MPICH, 2005, section 4.5), with two meetings over Unix sockets in place of messages.
Legend: W workers, P numbers that are averaged.
"""

from __future__ import annotations

import logging
import mmap
import os
import socket
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import BinaryIO

import torch
import torch.distributed as dist
from torch import nn

from raymaas.train.world import World

log = logging.getLogger("raymaas.train")

_PATIENCE_S = 1800.0  # what gloo waits for a worker, too
_FLOAT_BYTES = 4


def can_share(network: nn.Module, world: World) -> bool:
    """Whether `Averaging` is for that network on those workers."""
    return (
        world.one_machine
        and world.size > 1
        and world.device.type == "cpu"
        and all(weight.dtype == torch.float32 for weight in network.parameters())
    )


class Averaging:
    """Averages the gradients of a network over the workers, to the same bits on each; buffers become rank 0's.

    What DistributedDataParallel does, but after `backward` instead of during it. A parameter that has a gradient
    on some workers only has their sum over W on all; one that has none anywhere is left so.
    """

    def __init__(self, network: nn.Module, world: World, space: Space) -> None:
        self._weights = [weight for weight in network.parameters() if weight.requires_grad]
        self._buffers = [buffer for buffer in network.buffers() if buffer.numel()]
        self._is_first, self._meeting = world.rank == 0, space.meeting
        sizes = [weight.numel() for weight in self._weights]
        length = sum(sizes) + len(sizes)
        memory = torch.frombuffer(space.memory, dtype=torch.uint8)
        sums, *self._kept = torch.split(
            memory, [(world.size + 1) * length * _FLOAT_BYTES, *map(_bytes, self._buffers)]
        )
        rows_WP = sums.view(torch.float32).view(world.size + 1, length)
        part = world.shard(length)
        self._mine_P = rows_WP[world.rank]
        self._parts_WP, self._part_mean_P = rows_WP[:-1, part], rows_WP[-1, part]
        *means, self._present = torch.split(rows_WP[-1], [*sizes, len(sizes)])
        self._means = [mean.view_as(weight) for mean, weight in zip(means, self._weights, strict=True)]

    @classmethod
    def between(cls, network: nn.Module, world: World) -> Averaging | None:
        """Called by all workers together, which then have the weights of the first.

        None, for all of them, when the machine has no memory to share.
        """
        weights = [weight for weight in network.parameters() if weight.requires_grad]
        numbers = sum(weight.numel() for weight in weights) + len(weights)
        size = (world.size + 1) * numbers * _FLOAT_BYTES + sum(map(_bytes, network.buffers()))
        space = Space.between(world, size)
        if space is None:
            return None
        for tensor in (*network.parameters(), *network.buffers()):
            dist.broadcast(tensor.detach(), src=0)
        return cls(network, world, space)

    @torch.no_grad()
    def __call__(self) -> None:
        """Raises as `Meeting.hold`."""
        gradients = [weight.grad for weight in self._weights]
        here = torch.tensor([gradient is not None for gradient in gradients], dtype=torch.float32)
        written = [
            (torch.zeros_like(weight) if gradient is None else gradient).reshape(-1)
            for gradient, weight in zip(gradients, self._weights, strict=True)
        ]
        torch.cat([*written, here], out=self._mine_P)
        if self._is_first:
            for kept, buffer in zip(self._kept, self._buffers, strict=True):
                kept.copy_(_as_bytes(buffer))
        self._meeting.hold()
        torch.mean(self._parts_WP, dim=0, out=self._part_mean_P)
        if not self._is_first:
            for kept, buffer in zip(self._kept, self._buffers, strict=True):
                buffer.copy_(kept.clone().view(buffer.dtype).view_as(buffer))  # the clone is aligned
        self._meeting.hold()
        present = self._present.tolist()
        for weight, gradient, mean, share in zip(self._weights, gradients, self._means, present, strict=True):
            if gradient is not None:
                gradient.copy_(mean)
            elif share:
                weight.grad = mean.clone()


@dataclass(frozen=True)
class Meeting:
    """All workers of one machine: none goes on before the last one came. What each wrote before, all see after.

    The first worker has a socket to each of the others, and these one to it.
    """

    sockets: Sequence[socket.socket]
    is_first: bool

    def hold(self) -> None:
        """Raises RuntimeError when another worker is gone, and TimeoutError when it stays away for half an hour."""
        try:
            if not self.is_first:
                self._call()
            for peer in self.sockets:
                if not peer.recv(1):
                    raise ConnectionResetError
            if self.is_first:
                self._call()
        except ConnectionError as error:
            raise RuntimeError("another worker of this training is gone") from error

    def _call(self) -> None:
        for peer in self.sockets:
            peer.send(b".")


@dataclass(frozen=True)
class Space:
    """Memory that all workers have, at first zeros, and where they meet about it."""

    memory: mmap.mmap
    meeting: Meeting

    @classmethod
    def between(cls, world: World, size: int) -> Space | None:
        """`size` bytes; None when the machine does not give them. Nothing of it outlives the workers.

        Raises as `Meeting.hold`.
        """
        return cls._made(world, size) if world.rank == 0 else cls._found()

    @classmethod
    def _made(cls, world: World, size: int) -> Space | None:
        with ExitStack() as opened:
            try:
                folder = opened.enter_context(tempfile.TemporaryDirectory(prefix="raymaas-"))
                file = opened.enter_context(_memory(size))
                door = opened.enter_context(socket.socket(socket.AF_UNIX))
                door.settimeout(_PATIENCE_S)
                door.bind(f"{folder}/door")
                door.listen(world.size)
            except OSError as error:
                log.warning("gradients go through gloo: workers cannot share %d bytes here (%s)", size, error)
                dist.broadcast_object_list([None], src=0)
                return None
            dist.broadcast_object_list([f"{folder}/door"], src=0)
            peers = []
            for _ in range(world.size - 1):
                peer, _ = door.accept()
                peer.settimeout(_PATIENCE_S)
                socket.send_fds(peer, [b"."], [file.fileno()])
                peers.append(peer)
            return cls(mmap.mmap(file.fileno(), size), Meeting(peers, is_first=True))

    @classmethod
    def _found(cls) -> Space | None:
        told: list[str | None] = [None]
        dist.broadcast_object_list(told, src=0)
        if told[0] is None:
            return None
        peer = socket.socket(socket.AF_UNIX)
        peer.settimeout(_PATIENCE_S)
        try:
            peer.connect(told[0])
            _, descriptors, _, _ = socket.recv_fds(peer, 1, 1)
        except (ConnectionError, FileNotFoundError) as error:
            raise RuntimeError("the first worker of this training is gone") from error
        if not descriptors:
            raise RuntimeError("the first worker of this training is gone")
        with os.fdopen(descriptors[0]) as file:
            return cls(mmap.mmap(file.fileno(), 0), Meeting([peer], is_first=False))


def _memory(size: int) -> BinaryIO:
    """An open file without a name, `size` bytes of zeros. Raises OSError when there is no room.

    The room is taken now: a page that is missing later would end the process.
    """
    linux = hasattr(os, "memfd_create")
    file: BinaryIO = os.fdopen(os.memfd_create("raymaas"), "r+b") if linux else tempfile.TemporaryFile()  # noqa: SIM115
    try:
        if linux:
            os.posix_fallocate(file.fileno(), 0, size)
        else:
            os.truncate(file.fileno(), size)
    except OSError:
        file.close()
        raise
    return file


def _bytes(tensor: torch.Tensor) -> int:
    return tensor.numel() * tensor.element_size()


def _as_bytes(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.contiguous().view(-1).view(torch.uint8)
