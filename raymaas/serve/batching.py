"""Batches: which requests may be computed together, how their arrays are joined, and whose answer is whose.

A version's answer to a row must not depend on the rows beside it; whatever joins requests relies on that. A bundle's
probes tell (`keeps_rows_apart`), and a version that fails is computed one request at a time.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from contextlib import suppress
from itertools import accumulate, pairwise

import numpy as np

from raymaas.bundle.runtimes.base import Runtime, agrees

Arrays = Mapping[str, np.ndarray]
Outcome = dict[str, np.ndarray] | Exception
"""What a request came to: its outputs by name, or why it failed."""

_RANGES_OF_THE_BATCH = "onnx-int8-dynamic"


def group_of(method: str, inputs: Arrays) -> Hashable:
    """What requests must have in common to be joined: method, names, types, and all but the first dimension."""
    return method, *sorted([(name, array.dtype.char, array.shape[1:]) for name, array in inputs.items()])


def rows_of(inputs: Arrays) -> int:
    """The number of rows, the same in each input."""
    return len(next(iter(inputs.values())))


def size_of(inputs: Arrays) -> int:
    """Bytes that waiting inputs keep in memory, about."""
    total = 0
    for array in inputs.values():
        total += array.nbytes if array.dtype != object else sum(len(text or "") + 64 for text in array.flat)
    return total


def computed(run: Callable[[Arrays], dict[str, np.ndarray]], requests: Sequence[Arrays]) -> list[Outcome]:
    """What each of `requests`, all of one group, comes to. Raises nothing.

    They are computed as one; when that fails, one by one, so that only those fail that fail alone.
    """
    if len(requests) > 1:
        with suppress(Exception):  # each says below what is wrong with it
            return _split(run(_joined(requests)), [rows_of(inputs) for inputs in requests])
    return [_alone(run, inputs) for inputs in requests]


def keeps_rows_apart(runtime: Runtime, rows: Arrays) -> bool:
    """Whether `runtime` is seen to answer each of `rows`, two or more, alone as it does among the others.

    Within its tolerance, since sums are added up in another order. A runtime that takes its ranges from the whole
    batch does not, whatever the rows are.
    """
    count = rows_of(rows)
    if runtime.name == _RANGES_OF_THE_BATCH or count < 2:
        return False
    together = runtime.run(rows)
    for index in range(count):
        alone = runtime.run({name: array[index : index + 1] for name, array in rows.items()})
        for name, answers in together.items():
            if len(answers) != count or not agrees(runtime.name, alone[name], answers[index : index + 1]):
                return False
    return True


def _joined(requests: Sequence[Arrays]) -> dict[str, np.ndarray]:
    return {name: np.concatenate([inputs[name] for inputs in requests]) for name in requests[0]}


def _split(outputs: Arrays, rows: Sequence[int]) -> list[Outcome]:
    """Raises ValueError when an output does not have a row for each row asked."""
    ends = list(accumulate(rows, initial=0))
    for name, array in outputs.items():
        if len(array) != ends[-1]:
            raise ValueError(f"output {name!r} has {len(array)} rows for {ends[-1]} asked")
    return [{name: array[begin:end] for name, array in outputs.items()} for begin, end in pairwise(ends)]


def _alone(run: Callable[[Arrays], dict[str, np.ndarray]], inputs: Arrays) -> Outcome:
    try:
        return run(inputs)
    except Exception as error:
        return error
