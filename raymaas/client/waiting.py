"""Flows that wait, by polling: for a deployment to be ready, for a run to end, for more of a log."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from raymaas.client import calls
from raymaas.client.flow import Emit, Flow, LogText, Pause, exchange
from raymaas.errors import InvalidInput, OutcomeUnknown, Refused, RunFailed, Unavailable
from raymaas.specs.api import Deployment
from raymaas.specs.names import Reference
from raymaas.specs.rollouts import RolloutState
from raymaas.specs.runs import FINAL_STATES, Failed, RunProgress, RunState, Stopped, Succeeded
from raymaas.specs.serving import ModelState, Scaling

POLL_S = 0.5
_DECISIONS = 1000

Shown = Literal["log", "metrics", "status"]
ALL: frozenset[Shown] = frozenset({"log", "metrics", "status"})
LOG: frozenset[Shown] = frozenset({"log"})
NOTHING: frozenset[Shown] = frozenset()


@dataclass(frozen=True)
class Patience:
    """How long to wait, by which clock (seconds, monotonic). `timeout_s` None waits for ever."""

    clock: Callable[[], float]
    timeout_s: float | None

    def deadline(self) -> float:
        return float("inf") if self.timeout_s is None else self.clock() + self.timeout_s


def deploy(
    target: Reference, *, scaling: Scaling | None, why: str, patience: Patience | None, url: str
) -> Flow[ModelState]:
    """Want a version running and, with `patience`, wait until it answers. Returns the state that was written.

    Raises InvalidInput when `target` names no version, Unavailable when it cannot run, Refused when somebody
    undeployed it meanwhile, and OutcomeUnknown when patience ends; then it goes on starting.
    """
    slot = pinned(target)
    if patience is None:
        return (yield from exchange(calls.deploy(target.model, slot, scaling=scaling, why=why), url=url))
    deadline = patience.deadline()
    # The number is settled first: an alias may move while we wait.
    version = (yield from exchange(calls.version(target.model, slot), url=url)).version
    state = yield from exchange(calls.deploy(target.model, version, scaling=scaling, why=why), url=url)
    while True:
        found = yield from exchange(calls.deployments(target.model), url=url)
        deployment = _still_wanted(found, target.model, version)
        if deployment.status == "ready":
            return state
        if deployment.status == "failed":
            raise Unavailable(
                f"{target.model}@{version} was deployed but cannot run: {deployment.message}; deploy it with other "
                f"settings, or to try these again `raymaas undeploy {target.model}@{version}` first"
            )
        if patience.clock() >= deadline:
            raise OutcomeUnknown(
                f"{target.model}@{version} is {deployment.status} after {patience.timeout_s:g} s "
                f"({deployment.message or 'no message'}); it goes on: `raymaas models show {target.model}`"
            )
        yield Pause(POLL_S)


def watch(
    run_id: str, *, patience: Patience, url: str, shown: frozenset[Shown] = ALL, follow: bool = True
) -> Flow[RunState]:
    """Emit what `shown` names as it appears, until the run has ended; return its state.

    A status and the progress are emitted when they change, an epoch and a trial once, log text without gaps or repeats.
    Without `follow`, emit what there is and return. Raises OutcomeUnknown when patience ends; the run goes on.
    """
    deadline = patience.deadline()
    seen: RunState | None = None
    progress: RunProgress | None = None
    place, epoch, trials = 0, 0, set[str]()
    while True:
        # The status is read before the rest, so that nothing a finished run wrote is missed.
        status = (yield from exchange(calls.run(run_id), url=url)).status
        if "status" in shown and status != seen:
            yield Emit(status)
        seen = status
        if "log" in shown:
            place = yield from _emit_log(run_id, place, url=url)
        if "metrics" in shown:
            measured = yield from exchange(calls.run_measured(run_id, after=epoch), url=url)
            for metrics in measured.epochs:
                yield Emit(metrics)
                epoch = metrics.epoch
            if measured.progress is not None and measured.progress != progress:
                progress = measured.progress
                yield Emit(progress)
            for trial in measured.trials:
                if trial.trial not in trials:
                    yield Emit(trial)
            trials = {trial.trial for trial in measured.trials}
        if isinstance(status, FINAL_STATES) or not follow:
            return status
        if patience.clock() >= deadline:
            raise OutcomeUnknown(
                f"run {run_id} is {status.state} after {patience.timeout_s:g} s; it goes on: "
                f"see `raymaas runs show {run_id}`"
            )
        yield Pause(POLL_S)


def decisions_after(
    model: str,
    revision: int,
    *,
    patience: Patience,
    url: str,
    on_away: Callable[[Unavailable], None] | None = None,
) -> Flow[tuple[RolloutState, ...]]:
    """The states of the model's rollout after `revision`, oldest first, once there are any: all of them.

    A control plane that does not answer is waited for: the rollout is in the store, and goes on when it is back.
    `on_away` is called once each time that it goes. Raises Unavailable when it has been away for as long as
    `patience` lasts.
    """
    deadline, answers = patience.deadline(), True
    while True:
        try:
            newest = yield from exchange(calls.rollout(model), url=url)
            if newest.revision > revision:
                return (yield from _states_until(newest, after=revision, url=url))
            deadline, answers = patience.deadline(), True
        except Unavailable as away:
            if patience.clock() >= deadline:
                raise
            if answers and on_away:
                on_away(away)
            answers = False
        yield Pause(POLL_S)


def _states_until(newest: RolloutState, *, after: int, url: str) -> Flow[tuple[RolloutState, ...]]:
    """`newest` and those before it until revision `after`, oldest first."""
    found = [newest]
    while (missing := found[-1].revision - after - 1) > 0:
        asked = calls.rollouts(newest.model, limit=min(missing, _DECISIONS), before=found[-1].revision)
        page = yield from exchange(asked, url=url)
        if not page:
            break
        found += page
    return tuple(reversed(found))


def outcome(run_id: str, status: RunState) -> Succeeded:
    """The success a final status is. Raises RunFailed for every other."""
    match status:
        case Succeeded():
            return status
        case Failed(error=error):
            raise RunFailed(f"run {run_id} failed: {error}; see `raymaas runs logs {run_id}`", run=run_id)
        case Stopped(who=who, why=why) if why:
            raise RunFailed(f"run {run_id} was stopped by {who}: {why}", run=run_id)
        case Stopped(who=who):
            raise RunFailed(
                f"run {run_id} was stopped by {who}; `raymaas runs resume {run_id}` goes on with a training, "
                "any other job is submitted again",
                run=run_id,
            )
    raise RunFailed(f"run {run_id} is {status.state} and has no outcome yet", run=run_id)


def pinned(target: Reference) -> int | str:
    """The version or alias in `target`. Raises InvalidInput when it names the model alone."""
    slot = target.alias if target.version is None else target.version
    if slot is None:
        raise InvalidInput(
            f"say which version of {target.model!r}: {target.model}@1, or an alias as {target.model}@prod"
        )
    return slot


def _emit_log(run_id: str, place: int, *, url: str) -> Flow[int]:
    """Emit all the log there is from `place` on; return the place after it."""
    while True:
        part = yield from exchange(calls.run_logs(run_id, after=place), url=url)
        place = part.next
        if part.text:
            yield Emit(LogText(part.text))
        if part.final or not part.text:
            return place


def _still_wanted(found: Sequence[Deployment], model: str, version: int) -> Deployment:
    for deployment in found:
        if deployment.version == version and deployment.wanted:
            return deployment
    raise Refused(
        f"{model}@{version} was undeployed meanwhile; `raymaas models history {model}` says by whom"
    )
