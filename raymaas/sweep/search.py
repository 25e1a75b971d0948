"""Searching a space with Ray Tune: each trial calls one objective at one point, in an actor of its own or a reused one.

A space of choices with no more combinations than trials is tried whole; any other is sampled, see
`raymaas.sweep.asking`. ASHA (Li et al., A System for Massively Parallel Hyperparameter Tuning, 2020) may stop poor
trials of one objective.

A killed search goes on from its own record, sealed documents in the store, not from Tune's snapshot: that one
lags behind, and reading it back would unpickle what lies in the store.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Literal, Protocol

import ray
import torch
from ray import tune
from ray.tune.experiment import Trial as TuneTrial
from ray.tune.schedulers import ASHAScheduler

from raymaas.errors import InvalidInput, RaymaasError, RunFailed
from raymaas.priority import give_way
from raymaas.registry.blobs import Blobs
from raymaas.registry.layout import tune_path
from raymaas.specs.names import check_name
from raymaas.specs.search import (
    Broken,
    Effort,
    Finished,
    Objective,
    Outcome,
    Point,
    Space,
    Stopped,
    Trial,
    check_scheduler,
    every_point,
    lies_in,
    trial_name,
)
from raymaas.store import Store, open_store
from raymaas.sweep.asking import Asker, sampler_of

# ASHA compares trials from this many reports on, and lets the better third of them go on.
_GRACE_REPORTS, _REDUCTION, _MOST_REPORTS = 3, 3, 1000

TIME_WAS_UP = "the search's time was up"
_OURS = "raymaas"


@dataclass(frozen=True)
class Report:
    """What a trial measured so far; the last report of a trial is its result, and its files are kept."""

    metrics: Mapping[str, float]
    files: Mapping[str, bytes] = field(default_factory=dict)
    reused: tuple[str, ...] = ()
    """Steps that another trial had taken already."""
    hopeless: str = ""
    """Why the trial ends here, before it is through; the sampler learns these figures, and nobody chooses it."""


TrialFunction = Callable[[Point, Any, Callable[[Report], None]], None]
"""Carries out the trial at a point with what all trials share, and tells how far it got, at least once."""


class TrialBook(Protocol):
    """Where trials are recorded, from any process, so it is pickled; create-only, so that a trial ends once."""

    def add_trial(self, trial: Trial) -> None: ...
    def trials(self, run_id: str) -> tuple[Trial, ...]: ...


@dataclass(frozen=True)
class Search:
    """What to look for, and how much to spend on it."""

    space: Space
    objectives: tuple[Objective, ...]
    effort: Effort
    scheduler: Literal["asha"] | None = None


def search(
    function: TrialFunction,
    wanted: Search,
    *,
    run_id: str,
    store: Store,
    book: TrialBook,
    shared: object = None,
    seeds: Sequence[Point] = (),
    on_trial: Callable[[Trial], None] = lambda trial: None,
) -> tuple[Trial, ...]:
    """Carry out the trials of run `run_id` that `book` does not hold yet; returns all of them.

    `function` travels to the trials' processes, so it must be picklable; it may use `effort.threads_per_trial`
    threads. `shared` is put into Ray's object store once: each trial is given it with its arrays as they lie there,
    read-only. `seeds` are tried first; those outside the space are left out, see `lies_in`. A trial that fails is
    recorded as failed and does not end the search. When the time is up, counted over all drivers of the run, trials
    under way are recorded as stopped. Ray must be initialised. `on_trial` is called in this process as each ends.

    Raises InvalidInput for a scheduler with several objectives.
    """
    try:
        check_scheduler(wanted.objectives, wanted.scheduler)
    except ValueError as error:
        raise InvalidInput(str(error)) from None
    done, effort = book.trials(run_id), wanted.effort
    ended = {trial.trial for trial in done}
    first = [point for point in seeds if lies_in(wanted.space, point)]
    left = effort.trials - len(done)
    if (points := every_point(wanted.space, at_most=effort.trials)) is not None:
        first += [point for point in points if point not in first]
        left = sum(trial_name(point) not in ended for point in points)
    spent_s = max((trial.ended_s or 0.0 for trial in done), default=0.0)
    left_s = None if effort.minutes is None else 60 * effort.minutes - spent_s
    if left <= 0 or (left_s is not None and left_s <= 0):
        return done
    recorder = _Recorder(run_id, book, on_trial, known=ended, spent_s=spent_s, left_s=left_s)
    tuner = tune.Tuner(
        _trainable(function, wanted, run_id=run_id, store=store, book=book, shared=ray.put(shared)),
        tune_config=tune.TuneConfig(
            num_samples=left,
            max_concurrent_trials=effort.concurrent,
            time_budget_s=left_s,
            search_alg=Asker(
                wanted.space,
                wanted.objectives,
                sampler=sampler_of(effort, going_on_after=len(done)),
                first=first,
                done=done,
            ),
            scheduler=_scheduler(wanted),
            # An actor imports torch once; without reuse each trial would.
            reuse_actors=True,
        ),
        run_config=_run_config(run_id, store, attempt=len(done), callbacks=[recorder]),
    )
    tuner.fit()
    return book.trials(run_id)


def finished_trials(trials: Sequence[Trial], *, run_id: str) -> list[Trial]:
    """The trials that were carried out. Raises RunFailed, saying how the first one ended, when there is none."""
    finished = [trial for trial in trials if isinstance(trial.outcome, Finished)]
    if not finished:
        match trials[0].outcome if trials else None:
            case Broken(error=error):
                why = f"every trial failed, the first with: {error}"
            case Stopped(reason=reason):
                why = f"no trial was carried out to its end, the first one because {reason}"
            case _:
                why = "no trial was carried out"
        raise RunFailed(why, run=run_id)
    return finished


def trial_at(run_id: str, point: Point, outcome: Outcome, *, ended_s: float | None = None) -> Trial:
    """The trial at `point` as it is recorded."""
    return Trial(run_id=run_id, trial=trial_name(point), point=dict(point), outcome=outcome, ended_s=ended_s)


def sentence_of(error: Exception) -> str:
    """What a failed trial is recorded with."""
    return str(error) if isinstance(error, RaymaasError) else f"{type(error).__name__}: {error}"


def _trainable(
    function: TrialFunction, wanted: Search, *, run_id: str, store: Store, book: TrialBook, shared: Any
) -> Callable[[dict[str, Any]], None]:
    carried_out = partial(
        _carry_out,
        function,
        run_id=run_id,
        book=book,
        store_url=store.url,
        threads=wanted.effort.threads_per_trial,
        shared=shared,
    )
    resources: Any = tune.with_resources(carried_out, {"cpu": wanted.effort.cpus_per_trial})
    trainable: Callable[[dict[str, Any]], None] = resources
    return trainable


def _carry_out(
    function: TrialFunction,
    point: dict[str, Any],
    *,
    run_id: str,
    book: TrialBook,
    store_url: str,
    threads: int,
    shared: Any,
) -> None:
    """One trial, in its own process: every report goes to Tune, its files to the store."""
    give_way()
    torch.set_num_threads(threads)
    blobs, started = Blobs(open_store(store_url)), time.perf_counter()

    def tell(report: Report) -> None:
        entries = {name: blobs.put(data, name=name) for name, data in report.files.items()}
        ours = {
            "metrics": dict(report.metrics),
            "files": {name: entry.model_dump(mode="json") for name, entry in entries.items()},
            "reused": report.reused,
            "hopeless": report.hopeless,
            "seconds": time.perf_counter() - started,
        }
        tune.report({**report.metrics, _OURS: ours})

    try:
        function(point, ray.get(shared), tell)
    except Exception as error:
        # Here, since Tune tells its callbacks that a trial failed but not why.
        book.add_trial(trial_at(run_id, point, Broken(error=sentence_of(error))))
        raise


class _Recorder(tune.Callback):
    """Writes each trial into the book as it ends."""

    def __init__(
        self,
        run_id: str,
        book: TrialBook,
        on_trial: Callable[[Trial], None],
        *,
        known: set[str],
        spent_s: float,
        left_s: float | None,
    ) -> None:
        self._run_id = run_id
        self._book = book
        self._on_trial = on_trial
        self._known = known
        self._left_s = left_s
        self._origin = time.monotonic() - spent_s
        self._end = None if left_s is None else time.monotonic() + left_s
        self._begun: dict[str, float] = {}

    def on_trial_start(self, iteration: int, trials: list[TuneTrial], trial: TuneTrial, **info: Any) -> None:
        self._begun[trial_name(trial.config)] = time.monotonic()

    def on_trial_complete(
        self, iteration: int, trials: list[TuneTrial], trial: TuneTrial, **info: Any
    ) -> None:
        self._add(trial, _outcome(trial.last_result))

    def on_trial_error(self, iteration: int, trials: list[TuneTrial], trial: TuneTrial, **info: Any) -> None:
        recorded = {ended.trial: ended.outcome for ended in self._book.trials(self._run_id)}
        died = Broken(error="its process died; see Ray's logs")
        self._add(trial, recorded.get(trial_name(trial.config), died))

    def on_experiment_end(self, trials: list[TuneTrial], **info: Any) -> None:
        """When the time is up, Tune ends what is under way without a word of it."""
        if self._end is None or time.monotonic() < self._end:
            return
        for trial in trials:
            begun = self._begun.get(trial_name(trial.config))
            if begun is not None:
                last = trial.last_result or {}
                ours = last.get(_OURS, {"metrics": {}})
                self._add(
                    trial,
                    Stopped(
                        reason=TIME_WAS_UP,
                        metrics=ours["metrics"],
                        reports=last.get("training_iteration", 0),
                        seconds=time.monotonic() - begun,
                    ),
                )

    def _add(self, trial: TuneTrial, outcome: Outcome) -> None:
        entry = trial_at(self._run_id, trial.config, outcome, ended_s=time.monotonic() - self._origin)
        if entry.trial in self._known:
            return
        self._known.add(entry.trial)
        self._book.add_trial(entry)
        self._on_trial(entry)


def _outcome(result: Mapping[str, Any]) -> Outcome:
    """What the last report of a trial that ended by itself, or by its scheduler, comes to."""
    if _OURS not in result:
        return Broken(error="it ended without a report")
    ours: Mapping[str, Any] = result[_OURS]
    kept = {"metrics": ours["metrics"], "reports": result["training_iteration"], "seconds": ours["seconds"]}
    if ours["hopeless"]:
        return Stopped.parse(kept | {"reason": ours["hopeless"]}, source="the result of a trial")
    return Finished.parse(
        kept | {"files": ours["files"], "reused": ours["reused"]}, source="the result of a trial"
    )


def _scheduler(wanted: Search) -> ASHAScheduler | None:
    if wanted.scheduler is None:
        return None
    objective = wanted.objectives[0]
    return ASHAScheduler(
        metric=objective.metric,
        mode=objective.mode,
        grace_period=_GRACE_REPORTS,
        reduction_factor=_REDUCTION,
        max_t=_MOST_REPORTS,
    )


def _run_config(run_id: str, store: Store, *, attempt: int, callbacks: list[tune.Callback]) -> tune.RunConfig:
    filesystem, root = store.arrow_filesystem()
    return tune.RunConfig(
        name=f"{check_name(run_id)}-{attempt}",
        storage_path=f"{root}/{tune_path(run_id)}",
        storage_filesystem=filesystem,
        callbacks=callbacks,
        verbose=0,
    )
