"""Carrying out one function at several points as Ray tasks, some at a time; each is recorded as a trial.

A second driver of the same run goes on where the first one died: what is recorded is not carried out again.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import ray
import torch
from ray.exceptions import RayError, RayTaskError

from raymaas.priority import give_way
from raymaas.specs.search import Broken, Finished, Point, Trial, trial_name
from raymaas.sweep.search import TrialBook, sentence_of, trial_at

_ATTEMPTS_MORE = 1  # for a process that died; more would repeat a fault of its own again and again

PointFunction = Callable[[Point], Mapping[str, float]]
"""The figures at a point. It travels to the task's process, so it must be picklable."""


@dataclass(frozen=True)
class TaskLimits:
    """How many tasks there are at one time, and what each may use."""

    concurrent: int
    threads: int
    cpus: float


def carry_out_each(
    function: PointFunction,
    points: Sequence[Point],
    *,
    limits: TaskLimits,
    run_id: str,
    book: TrialBook,
    on_trial: Callable[[Trial], None] = lambda trial: None,
) -> tuple[Trial, ...]:
    """Carry out `function` at the points that `book` does not hold yet; the trials of all, in the order of `points`.

    A point that fails is recorded as failed and does not end the others. Ray must be initialised. `on_trial` is
    called in this process as each ends.
    """
    done = {trial.trial: trial for trial in book.trials(run_id)}
    names = [trial_name(point) for point in points]
    waiting = [point for name, point in zip(names, points, strict=True) if name not in done]
    task = ray.remote(num_cpus=limits.cpus, max_retries=_ATTEMPTS_MORE)(_carry_out)
    running: dict[Any, Point] = {}
    while waiting or running:
        while waiting and len(running) < limits.concurrent:
            point = waiting.pop(0)
            running[task.remote(function, point, limits.threads)] = point
        (ended,), _ = ray.wait(list(running), num_returns=1)
        trial = trial_at(run_id, running.pop(ended), _outcome(ended))
        book.add_trial(trial)
        done[trial.trial] = trial
        on_trial(trial)
    return tuple(done[name] for name in names)


def _carry_out(function: PointFunction, point: Point, threads: int) -> tuple[dict[str, float], float]:
    give_way()
    torch.set_num_threads(threads)
    started = time.perf_counter()
    figures = dict(function(point))
    return figures, time.perf_counter() - started


def _outcome(ended: Any) -> Finished | Broken:
    try:
        figures, seconds = ray.get(ended)
    except RayTaskError as error:
        return Broken(error=sentence_of(error.cause))
    except RayError as error:
        return Broken(error=f"its process died; see Ray's logs ({str(error).splitlines()[0]})")
    return Finished(metrics=figures, reports=1, seconds=seconds)
