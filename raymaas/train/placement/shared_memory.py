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
import shutil
import socket
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.distributed as dist
from torch import nn

from raymaas.train.world import World

log = logging.getLogger("raymaas.train")

_MEMORY = Path("/dev/shm")  # where a file is memory; elsewhere the system's temporary folder must do
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
        """Called by all workers together. None, for all of them, when the machine has too little memory to share."""
        weights = [weight for weight in network.parameters() if weight.requires_grad]
        numbers = sum(weight.numel() for weight in weights) + len(weights)
        size = (world.size + 1) * numbers * _FLOAT_BYTES + sum(map(_bytes, network.buffers()))
        space = Space.between(world, size)
        return cls(network, world, space) if space else None

    @torch.no_grad()
    def __call__(self) -> None:
        """Raises RuntimeError when another worker is gone, and TimeoutError when it stays away for half an hour."""
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
        if not self.is_first:
            self._call()
        for peer in self.sockets:
            if not peer.recv(1):
                raise RuntimeError("another worker of this training is gone")
        if self.is_first:
            self._call()

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
        """`size` bytes; None when the machine has not that many. Nothing of it outlives the workers."""
        return cls._made(world, size) if world.rank == 0 else cls._found()

    @classmethod
    def _made(cls, world: World, size: int) -> Space | None:
        folder = Path(tempfile.mkdtemp(prefix="raymaas-"))
        try:
            with (
                tempfile.TemporaryFile(dir=_MEMORY if _MEMORY.is_dir() else None) as file,
                socket.socket(socket.AF_UNIX) as door,
            ):
                try:
                    _reserve(file.fileno(), size)
                except OSError as error:
                    log.warning("gradients go through gloo: no %d bytes of memory to share (%s)", size, error)
                    dist.broadcast_object_list([None], src=0)
                    return None
                address = str(folder / "door")
                door.bind(address)
                door.listen(world.size)
                dist.broadcast_object_list([address], src=0)
                peers = []
                door.settimeout(_PATIENCE_S)
                for _ in range(world.size - 1):
                    peer, _ = door.accept()
                    peer.settimeout(_PATIENCE_S)
                    socket.send_fds(peer, [b"."], [file.fileno()])
                    peers.append(peer)
                return cls(mmap.mmap(file.fileno(), size), Meeting(peers, is_first=True))
        finally:
            shutil.rmtree(folder)

    @classmethod
    def _found(cls) -> Space | None:
        told: list[str | None] = [None]
        dist.broadcast_object_list(told, src=0)
        if told[0] is None:
            return None
        peer = socket.socket(socket.AF_UNIX)
        peer.settimeout(_PATIENCE_S)
        peer.connect(told[0])
        _, (descriptor,), _, _ = socket.recv_fds(peer, 1, 1)
        try:
            memory = mmap.mmap(descriptor, 0)
        finally:
            os.close(descriptor)
        return cls(memory, Meeting([peer], is_first=False))


def _reserve(descriptor: int, size: int) -> None:
    """Raises OSError when there is no room: a page that is missing later would end the process."""
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(descriptor, 0, size)
    else:
        os.truncate(descriptor, size)


def _bytes(tensor: torch.Tensor) -> int:
    return tensor.numel() * tensor.element_size()


def _as_bytes(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.contiguous().view(-1).view(torch.uint8)
