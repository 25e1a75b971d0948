"""Searching a space with Ray Tune: each trial calls one objective at one point, in an actor of its own or a reused one.

A space of choices with no more combinations than trials is tried whole. Any other is sampled by Optuna: a
tree-structured Parzen estimator, for one objective (Bergstra et al. 2011) or several (Ozaki et al. 2020). ASHA
(Li et al., A System for Massively Parallel Hyperparameter Tuning, 2020) may stop poor trials of one objective.

A killed search goes on from its own record, sealed documents in the store, not from Tune's snapshot: that one
lags behind, and reading it back would unpickle what lies in the store.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Literal, Protocol

import torch
from pydantic import JsonValue
from ray import tune
from ray.tune.experiment import Trial as TuneTrial
from ray.tune.schedulers import ASHAScheduler
from ray.tune.search import BasicVariantGenerator, SearchAlgorithm
from ray.tune.search.optuna import OptunaSearch

from raymaas.errors import InvalidInput, RaymaasError, RunFailed
from raymaas.registry.blobs import Blobs
from raymaas.registry.layout import tune_path
from raymaas.specs.base import canonical_json, sha256_hex
from raymaas.specs.names import check_name
from raymaas.specs.search import (
    Broken,
    Dimension,
    Effort,
    Finished,
    Objective,
    Point,
    Space,
    Trial,
    check_scheduler,
    every_point,
)
from raymaas.store import Store, open_store

# ASHA compares trials from this many reports on, and lets the better third of them go on.
_GRACE_REPORTS, _REDUCTION, _MOST_REPORTS = 3, 3, 1000


@dataclass(frozen=True)
class Report:
    """What a trial measured so far; the last report of a trial is its result, and its files are kept."""

    metrics: Mapping[str, float]
    files: Mapping[str, bytes] = field(default_factory=dict)


TrialFunction = Callable[[Point, Callable[[Report], None]], None]
"""Carries out the trial at a point, and tells how far it got as often as it likes, at least once."""


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
    on_trial: Callable[[Trial], None] = lambda trial: None,
) -> tuple[Trial, ...]:
    """Carry out the trials of run `run_id` that `book` does not hold yet; returns all of them.

    `function` travels to the trials' processes, so it must be picklable; it may use
    `effort.threads_per_trial` threads. A trial that fails is recorded as failed and does not end the search.
    Ray must be initialised. `on_trial` is called in this process as each trial ends.

    Raises InvalidInput for a scheduler with several objectives.
    """
    try:
        check_scheduler(wanted.objectives, wanted.scheduler)
    except ValueError as error:
        raise InvalidInput(str(error)) from None
    done = book.trials(run_id)
    points = every_point(wanted.space, at_most=wanted.effort.trials)
    if points is not None:
        ended = {trial.trial for trial in done}
        points = [point for point in points if trial_name(point) not in ended]
        if not points:
            return done
    elif len(done) >= wanted.effort.trials:
        return done
    recorder = _Recorder(run_id, book, on_trial, known={trial.trial for trial in done})
    tuner = tune.Tuner(
        _trainable(function, wanted, run_id=run_id, done=done, store=store, book=book),
        param_space={name: _domain(dimension) for name, dimension in wanted.space.items()},
        tune_config=tune.TuneConfig(
            num_samples=wanted.effort.trials if points is None else len(points),
            # The generator of given points has its own limit, and Tune ignores this one then.
            max_concurrent_trials=wanted.effort.concurrent if points is None else None,
            search_alg=_searcher(wanted, points=points, done=done),
            scheduler=_scheduler(wanted),
            # An actor imports torch once; without reuse each trial would.
            reuse_actors=True,
        ),
        run_config=_run_config(run_id, store, attempt=len(done), callbacks=[recorder]),
    )
    tuner.fit()
    return book.trials(run_id)


def finished_trials(trials: Sequence[Trial], *, run_id: str) -> list[Trial]:
    """The trials that have figures. Raises RunFailed, with the first one's error, when there is none."""
    finished = [trial for trial in trials if isinstance(trial.outcome, Finished)]
    if not finished:
        errors = [trial.outcome.error for trial in trials if isinstance(trial.outcome, Broken)]
        raise RunFailed(f"every trial failed, the first with: {(errors or ['none was run'])[0]}", run=run_id)
    return finished


def trial_name(point: Point) -> str:
    """The name of the trial at `point`: the same point has the same name in every process."""
    return f"t-{sha256_hex(canonical_json(dict(point)))[:12]}"


def trial_at(run_id: str, point: Point, outcome: Finished | Broken) -> Trial:
    """The trial at `point` as it is recorded."""
    return Trial(run_id=run_id, trial=trial_name(point), point=dict(point), outcome=outcome)


def sentence_of(error: Exception) -> str:
    """What a failed trial is recorded with."""
    return str(error) if isinstance(error, RaymaasError) else f"{type(error).__name__}: {error}"


def _trainable(
    function: TrialFunction,
    wanted: Search,
    *,
    run_id: str,
    done: Sequence[Trial],
    store: Store,
    book: TrialBook,
) -> Callable[[dict[str, Any]], None]:
    carried_out = partial(
        _carry_out,
        function,
        run_id=run_id,
        book=book,
        store_url=store.url,
        threads=wanted.effort.threads_per_trial,
        known={trial.trial: trial.outcome for trial in done},
    )
    resources: Any = tune.with_resources(carried_out, {"cpu": wanted.effort.cpus_per_trial})
    trainable: Callable[[dict[str, Any]], None] = resources
    return trainable


def _carry_out(
    function: TrialFunction,
    point: dict[str, JsonValue],
    *,
    run_id: str,
    book: TrialBook,
    store_url: str,
    threads: int,
    known: Mapping[str, Finished | Broken],
) -> None:
    """One trial, in its own process: every report goes to Tune, its files to the store."""
    match known.get(trial_name(point)):
        case Finished(metrics=metrics):
            # Told again to a fresh sampler, which learns from it; recorded only once.
            tune.report(dict(metrics))
            return
        case Broken(error=error):
            raise RuntimeError(error)
    torch.set_num_threads(threads)
    blobs, started = Blobs(open_store(store_url)), time.perf_counter()

    def tell(report: Report) -> None:
        entries = {name: blobs.put(data, name=name) for name, data in report.files.items()}
        ours = {
            "metrics": dict(report.metrics),
            "files": {name: entry.model_dump(mode="json") for name, entry in entries.items()},
            "seconds": time.perf_counter() - started,
        }
        tune.report({**report.metrics, _OURS: ours})

    try:
        function(point, tell)
    except Exception as error:
        # Here, since Tune tells its callbacks that a trial failed but not why.
        book.add_trial(trial_at(run_id, point, Broken(error=sentence_of(error))))
        raise


_OURS = "raymaas"


class _Recorder(tune.Callback):
    """Writes each trial into the book as it ends."""

    def __init__(
        self, run_id: str, book: TrialBook, on_trial: Callable[[Trial], None], *, known: set[str]
    ) -> None:
        self._run_id = run_id
        self._book = book
        self._on_trial = on_trial
        self._known = known

    def on_trial_complete(
        self, iteration: int, trials: list[TuneTrial], trial: TuneTrial, **info: Any
    ) -> None:
        result = trial.last_result
        if _OURS not in result:
            self._add(trial, Broken(error="it ended without a report"))
            return
        ours = result[_OURS]
        self._add(
            trial,
            Finished.parse(
                {
                    "metrics": ours["metrics"],
                    "reports": result["training_iteration"],
                    "seconds": ours["seconds"],
                    "files": ours["files"],
                },
                source=f"the result of a trial of {self._run_id}",
            ),
        )

    def on_trial_error(self, iteration: int, trials: list[TuneTrial], trial: TuneTrial, **info: Any) -> None:
        recorded = {ended.trial: ended.outcome for ended in self._book.trials(self._run_id)}
        died = Broken(error="its process died; see Ray's logs")
        self._add(trial, recorded.get(trial_name(trial.config), died))

    def _add(self, trial: TuneTrial, outcome: Finished | Broken) -> None:
        entry = trial_at(self._run_id, trial.config, outcome)
        if entry.trial in self._known:
            return
        self._known.add(entry.trial)
        self._book.add_trial(entry)
        self._on_trial(entry)


def _searcher(
    wanted: Search, *, points: Sequence[Point] | None, done: Sequence[Trial]
) -> SearchAlgorithm | OptunaSearch:
    if points is not None:
        return BasicVariantGenerator(
            points_to_evaluate=[dict(point) for point in points], max_concurrent=wanted.effort.concurrent
        )
    metrics = [objective.metric for objective in wanted.objectives]
    modes: list[str] = [objective.mode for objective in wanted.objectives]
    alone = len(metrics) == 1
    return OptunaSearch(
        metric=metrics[0] if alone else metrics,
        mode=modes[0] if alone else modes,
        points_to_evaluate=[dict(trial.point) for trial in done] or None,
        # Another seed when going on: the first one would draw the points that are done.
        seed=wanted.effort.seed + len(done),
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


def _domain(dimension: Dimension) -> Any:
    values: tuple[Any, ...] = dimension.values
    match dimension.kind:
        case "choice":
            return tune.choice(list(values))
        case "uniform":
            return tune.uniform(*values)
        case "loguniform":
            return tune.loguniform(*values)
        case "integer":
            return tune.randint(values[0], values[1] + 1)


def _run_config(run_id: str, store: Store, *, attempt: int, callbacks: list[tune.Callback]) -> tune.RunConfig:
    filesystem, root = store.arrow_filesystem()
    return tune.RunConfig(
        name=f"{check_name(run_id)}-{attempt}",
        storage_path=f"{root}/{tune_path(run_id)}",
        storage_filesystem=filesystem,
        callbacks=callbacks,
        verbose=0,
    )
