"""The front of a compression, as it moves: a sentence for each recipe that ends, and files that are kept up to date."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from raymaas.evaluate.pareto import front, hypervolume, knee
from raymaas.jobs.choosing import Limits, settings_of
from raymaas.registry.fronts import Fronts
from raymaas.report.front import Dot, FrontView, front_csv, front_png
from raymaas.report.front_page import front_html
from raymaas.specs.search import Broken, Finished, Stopped, Trial
from raymaas.specs.selecting import Chosen

log = logging.getLogger("raymaas.front")


@dataclass(frozen=True)
class Scale:
    """What recipes are held against: the title of their picture, the limits, and the original's bytes."""

    title: str
    limits: Limits
    original_bytes: int


class MovingFront:
    """Hears of every trial as it ends. Files that cannot be drawn or kept are said once, and cost nothing else."""

    def __init__(
        self,
        scale: Scale,
        *,
        known: Sequence[Trial],
        trials: int,
        fronts: Fronts,
        say: Callable[[str], None],
    ) -> None:
        self._scale, self._fronts, self._say = scale, fronts, say
        self._ended = list(known)
        self._of = trials
        self._failed = False

    def hear(self, trial: Trial) -> None:
        """Say what became of it, and replace the files."""
        self._ended.append(trial)
        self._say(line_of(trial, self._ended, self._scale.limits, of=self._of))
        self._keep(self._fronts.replace, self._ended, None)

    def settle(self, trials: Sequence[Trial], chosen: Chosen) -> None:
        """Keep the files as they are in the end, with what was chosen, and say where they are."""
        if self._keep(self._fronts.settle, trials, chosen):
            self._say(f"the front is kept; `raymaas runs front {self._fronts.run_id} --to FOLDER` brings it")

    def _keep(
        self, keep: Callable[[str, bytes], None], trials: Sequence[Trial], chosen: Chosen | None
    ) -> bool:
        try:
            for name, data in files_of(view_of(trials, self._scale, chosen)).items():
                keep(name, data)
        except Exception as error:
            log.exception("the front of %s", self._fronts.run_id)
            if not self._failed:
                self._say(f"the front could not be kept: {error}")
            self._failed = True
            return False
        return True


def line_of(trial: Trial, ended: Sequence[Trial], limits: Limits, *, of: int) -> str:
    """What became of `trial`, the last of `ended`, and where it stands among them now."""
    head, settings = f"trial {len(ended)} of {max(of, len(ended))}", settings_of(trial)
    match trial.outcome:
        case Broken(error=error):
            return f"{head}: failed, {error}; {settings}"
        case Stopped(reason=reason):
            return f"{head}: ended early, {reason}; {settings}"
        case Finished(metrics=metrics, reused=reused):
            lost = limits.loss(trial)
            beside = f"{abs(lost):.4g} {'worse' if lost > 0 else 'better'} than the parent"
            gate = "passes the gate" if limits.passes(trial) else "fails the gate"
            place = "on the front now" if trial.trial in _front(ended, limits) else "beaten"
            if reused:
                place += f", {' and '.join(reused)} taken from another trial"
            return (
                f"{head}: {metrics['bytes']:,.0f} bytes, 1/{metrics['ratio']:.1f}, {limits.gate.metric} "
                f"{metrics[limits.column]:.4f} ({beside if lost else 'as the parent'}), {gate}, {place}; {settings}"
            )


def view_of(trials: Sequence[Trial], scale: Scale, chosen: Chosen | None = None) -> FrontView:
    """The recipes with figures, as they stand; with `chosen`, also what was tried and chosen in the end."""
    limits = scale.limits
    names, at_knee = _front(trials, limits), _knee(trials, limits)
    rules = chosen.by_trial() if chosen else {}
    served = {tried.trial: tried.served for tried in chosen.tried} if chosen else {}
    dots = []
    for trial in trials:
        match trial.outcome:
            case Finished(metrics=metrics):
                dots.append(
                    Dot(
                        trial.trial,
                        trial.point,
                        metrics,
                        passes=limits.passes(trial),
                        on_front=trial.trial in names,
                        is_knee=trial.trial == at_knee,
                        chosen=rules.get(trial.trial, ()),
                        served=served.get(trial.trial),
                    )
                )
            case Stopped(metrics=metrics, reason=reason):
                dots.append(Dot(trial.trial, trial.point, metrics, stopped=reason))
    return FrontView(
        title=scale.title,
        gate=limits.gate,
        original_bytes=scale.original_bytes,
        parent_value=limits.reached,
        dots=tuple(dots),
        max_bytes=limits.max_bytes,
    )


def files_of(view: FrontView) -> Mapping[str, bytes]:
    """The files of a front by name; none while no recipe has figures."""
    if not any(dot.drawn for dot in view.dots):
        return {}
    return {"front.csv": front_csv(view), "front.html": front_html(view), "front.png": front_png(view)}


def won(trials: Sequence[Trial], scale: Scale) -> str:
    """How much of what could be won was: bytes of the original times the metric that may be lost."""
    gate, reached = scale.limits.gate, scale.limits.reached
    worst = reached + gate.max_loss if gate.mode == "min" else reached - gate.max_loss
    candidates = [scale.limits.candidate(trial) for trial in trials if isinstance(trial.outcome, Finished)]
    area = hypervolume(candidates, gate.objectives, reference=(scale.original_bytes, worst))
    whole = scale.original_bytes * gate.max_loss
    share = f"{area / whole:.3f} of the rectangle" if whole else "no area, since nothing may be lost,"
    return f"hypervolume {share} between the original and the gate"


def _front(trials: Sequence[Trial], limits: Limits) -> set[str]:
    finished = [limits.candidate(trial) for trial in trials if isinstance(trial.outcome, Finished)]
    return {one.name for one in front(finished, limits.gate.objectives)}


def _knee(trials: Sequence[Trial], limits: Limits) -> str:
    """That of the recipes that pass and are small enough; empty when none is."""
    good = [
        trial
        for trial in trials
        if isinstance(trial.outcome, Finished) and limits.passes(trial) and limits.fits(trial)
    ]
    return knee([limits.candidate(trial) for trial in good], limits.gate.objectives).name if good else ""
