"""What a search tries next: given points first, then what an Optuna study draws from all that ended before.

By a tree-structured Parzen estimator, for one objective (Bergstra et al. 2011) or several (Ozaki et al. 2020), or by
NSGA-II (K. Deb et al., A Fast and Elitist Multiobjective Genetic Algorithm, 2002).
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any

import optuna
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.samplers import BaseSampler, NSGAIISampler, RandomSampler, TPESampler
from optuna.trial import TrialState
from pydantic import JsonValue
from ray.tune.search import Searcher

from raymaas.specs.search import Dimension, Effort, Objective, Point, Space, Trial, trial_name

# Of these draws in a row, all known already, the first are the sampler's own; the others are of the whole space.
_OWN_DRAWS, _DRAWS = 20, 1000
_SEEDS = 1 << 32  # that Optuna takes
_LEAST_POPULATION, _MOST_POPULATION, _GENERATIONS = 4, 50, 5


class Asker(Searcher):
    """Gives Tune no point twice, nor one that `done` holds; what came of those the sampler has learned before."""

    def __init__(
        self,
        space: Space,
        objectives: Sequence[Objective],
        *,
        sampler: BaseSampler,
        first: Sequence[Point],
        done: Sequence[Trial],
    ) -> None:
        super().__init__()
        self._space = space
        self._metrics = [objective.metric for objective in objectives]
        self._sampler, self._anywhere = sampler, RandomSampler(seed=0)
        self._known = {trial.trial for trial in done}
        by_name = {trial_name(point): point for point in first}
        self._first = deque(point for name, point in by_name.items() if name not in self._known)
        self._asked: dict[str, optuna.Trial] = {}
        # Or it tells of every study on standard error, in the middle of a run's log.
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self._study = optuna.create_study(
            sampler=sampler,
            directions=["minimize" if objective.mode == "min" else "maximize" for objective in objectives],
        )
        for trial in sorted(done, key=lambda trial: trial.ended_s or 0.0):
            self._tell(self._ask(trial.point), trial.metrics)

    def suggest(self, trial_id: str) -> Any:
        """The next point, or FINISHED when the space seems to have no other."""
        if self._first:
            point: Point | None = self._first.popleft()
            assert point is not None
            asked = self._ask(point)
        else:
            asked, point = self._drawn()
        if point is None:
            return Searcher.FINISHED
        self._known.add(trial_name(point))
        self._asked[trial_id] = asked
        return dict(point)

    def on_trial_complete(
        self, trial_id: str, result: Mapping[str, Any] | None = None, error: bool = False
    ) -> None:
        self._tell(self._asked.pop(trial_id), {} if error else result or {})

    def save_to_dir(self, checkpoint_dir: str, session_str: str = "default") -> None:
        """Nothing: a search goes on from its trials' documents, and Tune would write pickles."""

    def save(self, checkpoint_path: str) -> None:
        """Nothing, as `save_to_dir`."""

    def restore(self, checkpoint_path: str) -> None:
        raise NotImplementedError("a search goes on from its trials' documents")

    def _drawn(self) -> tuple[optuna.Trial, Point | None]:
        for draw in range(_DRAWS):
            self._study.sampler = self._sampler if draw < _OWN_DRAWS else self._anywhere
            asked = self._ask()
            point = {name: _meant(d, asked.params[name]) for name, d in self._space.items()}
            if trial_name(point) not in self._known:
                return asked, point
            self._tell(asked, {})
        return asked, None

    def _ask(self, point: Point | None = None) -> optuna.Trial:
        """A trial of the study, at `point` when one is given."""
        if point is not None:
            self._study.enqueue_trial({name: _told(d, point[name]) for name, d in self._space.items()})
        return self._study.ask({name: _distribution(d) for name, d in self._space.items()})

    def _tell(self, asked: optuna.Trial, measured: Mapping[str, Any]) -> None:
        """What came of it; a trial that lacks a figure failed, and the study draws nothing from it."""
        values = [measured.get(metric, math.nan) for metric in self._metrics]
        if all(map(math.isfinite, values)):
            self._study.tell(asked, values)
        else:
            self._study.tell(asked, state=TrialState.FAIL)


def sampler_of(effort: Effort, *, going_on_after: int) -> BaseSampler:
    """What draws the points; other ones when some trials are done, or a search that goes on would repeat them."""
    seed = (effort.seed + going_on_after) % _SEEDS
    if effort.sampler == "tpe":
        return TPESampler(seed=seed)
    population = min(max(effort.trials // _GENERATIONS, _LEAST_POPULATION), _MOST_POPULATION)
    return NSGAIISampler(population_size=population, seed=seed)


def _distribution(dimension: Dimension) -> BaseDistribution:
    if dimension.kind == "choice":
        # Of places: Optuna takes no lists or mappings.
        return CategoricalDistribution(range(len(dimension.values)))
    low, high = _ends(dimension)
    if dimension.kind == "integer":
        return IntDistribution(int(low), int(high))
    return FloatDistribution(low, high, log=dimension.kind == "loguniform")


def _told(dimension: Dimension, value: JsonValue) -> Any:
    """`value` as the study knows it."""
    return dimension.values.index(value) if dimension.kind == "choice" else value


def _meant(dimension: Dimension, drawn: Any) -> JsonValue:
    """The value that the study drew; of a range to three digits or so, for 0.93217 and 0.93219 are one recipe."""
    if dimension.kind == "choice":
        return dimension.values[int(drawn)]
    low, high = _ends(dimension)
    if dimension.kind == "integer":
        return int(drawn)
    told_apart = drawn if dimension.kind == "loguniform" else high - low
    return min(max(round(float(drawn), 2 - math.floor(math.log10(told_apart))), low), high)


def _ends(dimension: Dimension) -> tuple[float, float]:
    low, high = (float(str(end)) for end in dimension.values)
    return low, high
