"""Counting what a coded file takes and holds, from the file itself."""

from __future__ import annotations

import lzma
import math
import time
import zlib
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode

from raymaas.bundle.rmz.container import RmzFile, breakdown, read
from raymaas.bundle.rmz.tensors import Coded, Raw
from raymaas.models.networks import Network
from raymaas.specs.accounting import Accounting

_TIMES = 3


def account(
    coded: bytes,
    *,
    network: Network,
    row: np.ndarray,
    original_bytes: int,
    clock: Callable[[], float] = time.perf_counter,
) -> Accounting:
    """What the file `coded` takes; `network` is it decoded, in eval mode, and `row` [1, ...] an input of it.

    Raises as `rmz.container.read`.
    """
    file, decode_s = _decoded(coded, clock)
    tensors = list(file.tensors.values())
    plain = b"".join(tensor.numbers.tobytes() for tensor in tensors)
    return Accounting(
        parts=breakdown(coded),
        original_bytes=original_bytes,
        entropy_bytes=sum(map(_entropy_bytes, tensors)),
        zlib_bytes=len(zlib.compress(plain, 9)),
        lzma_bytes=len(lzma.compress(plain, preset=9)),
        parameters=sum(tensor.numbers.size for tensor in tensors),
        nonzeros=sum(int(np.count_nonzero(tensor.dense())) for tensor in tensors),
        macs=macs_of(network, row),
        decode_s=decode_s,
    )


def macs_of(network: Network, row: np.ndarray) -> int:
    """Of `infer` for one row, by what torch's kernels are called with."""
    known = {torch.ops.aten.mkldnn_rnn_layer: _recurrent_flops}
    with torch.no_grad(), FlopCounterMode(display=False, custom_mapping=known) as counter:
        network.infer(torch.tensor(row))
    return int(counter.get_total_flops()) // 2


def _recurrent_flops(
    x_TBD: Sequence[int], into: Sequence[int], over: Sequence[int], *_: Any, **__: Any
) -> int:
    """Of oneDNN's kernel for one layer of cells, which the counter does not know: its two products, step by step."""
    steps, rows, _values = x_TBD
    return 2 * steps * rows * (math.prod(into) + math.prod(over))


def _decoded(coded: bytes, clock: Callable[[], float]) -> tuple[RmzFile, float]:
    seconds = []
    for _ in range(_TIMES):
        begun = clock()
        file = read(coded)
        seconds.append(clock() - begun)
    return file, min(seconds)


def _entropy_bytes(tensor: Coded) -> float:
    """Levels and places at their order-0 entropy, and whatever else there is as it is."""
    if isinstance(tensor, Raw):
        return tensor.array.nbytes
    _, counts = np.unique(tensor.numbers, return_counts=True)
    shares = counts / max(1, tensor.numbers.size)
    return tensor.beside_bytes + float(-(counts * np.log2(shares)).sum()) / 8
