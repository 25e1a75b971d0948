"""Asking a model about many rows, a bounded number at a time, and refusing answers that cannot be scored.

Legend: N rows, B rows of a batch.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from raymaas.errors import RunFailed

Run = Callable[[Mapping[str, np.ndarray]], Mapping[str, np.ndarray]]
"""Arrays [B, ...] by the input's name to arrays [B, ...] by the output's name."""

_BATCH_ROWS = 256  # rows per call: bounds memory, changes no figure


def in_batches(run: Run, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """All that `run` gives for the rows of `inputs`, [N, ...] by name, of which there is one at least."""
    count = len(next(iter(inputs.values())))
    pieces = [
        run({name: values[start : start + _BATCH_ROWS] for name, values in inputs.items()})
        for start in range(0, count, _BATCH_ROWS)
    ]
    return {name: np.concatenate([piece[name] for piece in pieces]) for name in pieces[0]}


def answers(run: Run, inputs: Mapping[str, np.ndarray], *, row_N: np.ndarray, output: str) -> np.ndarray:
    """What `run` gives as `output`, [N, ...], for the rows named `row_N`.

    Raises RunFailed when there is no such output, or it is not a finite number for every row; a row is named.
    """
    pieces = []
    for start in range(0, len(row_N), _BATCH_ROWS):
        given = run({name: values[start : start + _BATCH_ROWS] for name, values in inputs.items()})
        if output not in given:
            raise RunFailed(f"the model answers no {output!r}; it answers {', '.join(sorted(given))}")
        pieces.append(given[output])
    found_N = np.concatenate(pieces)
    if len(found_N) != len(row_N):
        raise RunFailed(f"the model gave {len(found_N)} answers for {len(row_N)} rows; train it again")
    wrong = np.flatnonzero(~np.isfinite(found_N.reshape(len(found_N), -1)).all(axis=1))
    if len(wrong):
        raise RunFailed(f"the model's answer for row {row_N[wrong[0]]} is not a number; train it again")
    return found_N
