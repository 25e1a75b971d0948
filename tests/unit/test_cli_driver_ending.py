"""How a driver's run ends: its state is recorded whatever comes while it ends, and its report comes after.

Where the job asks for it, what it published is rolled out before that.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from registry_examples import FILES, draft, run_spec

from raymaas import wiring
from raymaas.cli.driver import carry_out
from raymaas.jobs.parts import JobParts
from raymaas.jobs.recording import Recorder
from raymaas.registry import moves
from raymaas.registry.runs import Runs
from raymaas.specs.jobs import TrainJob
from raymaas.specs.rollouts import RolloutPlan
from raymaas.specs.versions import ModelVersion

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


def told_to_stop(*_: object, **__: object) -> None:
    os.kill(os.getpid(), signal.SIGTERM)


def succeeding(*_: object) -> tuple[()]:
    return ()


def failing(*_: object) -> None:
    raise ValueError("no rows")


@pytest.fixture
def runs(tmp_path: Path) -> Runs:
    runs = wiring.open_registry(str(tmp_path)).runs
    runs.create(run_spec("run-a"))
    return runs


@pytest.fixture
def drive(
    tmp_path: Path, runs: Runs, monkeypatch: pytest.MonkeyPatch
) -> Callable[[Callable[..., None]], None]:
    """Carry out a training that is that function, where no Ray is."""
    monkeypatch.setenv("RAY_ADDRESS", "none")
    monkeypatch.setattr("raymaas.cluster.joining.connect_as_driver", lambda: None)
    monkeypatch.setattr("raymaas.cluster.card.read_card", lambda: None)

    def carried_out(work: Callable[..., Any], run_id: str = "run-a") -> None:
        monkeypatch.setattr("raymaas.jobs.kinds.carry_out_job", work)
        carry_out(None, run_id=run_id, storage=str(tmp_path), overrides=[])

    return carried_out


def test_a_failed_training_is_recorded_before_its_report(drive, runs, monkeypatch) -> None:
    def interrupted(*_: object, **__: object) -> None:
        assert runs.status("run-a").state == "failed"
        raise KeyboardInterrupt

    monkeypatch.setattr("raymaas.jobs.unfinished.keep_unfinished_report", interrupted)
    with pytest.raises(KeyboardInterrupt):
        drive(failing)
    assert runs.status("run-a").state == "failed"


def test_a_training_told_to_stop_is_stopped_with_a_report(drive, runs) -> None:
    with pytest.raises(SystemExit):
        drive(told_to_stop)
    assert runs.status("run-a").state == "stopped"
    assert "It was stopped by" in runs.artifacts("run-a").read("report/report.md").decode()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize(
    ("work", "state"), [(failing, "failed"), (told_to_stop, "stopped"), (succeeding, "succeeded")]
)
def test_a_signal_while_a_run_ends_changes_nothing(drive, runs, monkeypatch, number, work, state) -> None:
    close = Recorder.close

    def signalled(recorder: Recorder) -> None:
        os.kill(os.getpid(), number)
        close(recorder)

    monkeypatch.setattr(Recorder, "close", signalled)
    before = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)
    with suppress(ValueError, SystemExit, KeyboardInterrupt):
        drive(work)
    assert runs.status("run-a").state == state
    assert (signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)) == before


def test_what_goes_wrong_in_the_last_progress_leaves_a_state(drive, runs, monkeypatch) -> None:
    def torn(recorder: Recorder) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(Recorder, "close", torn)
    with pytest.raises(OSError, match="disk full"):
        drive(succeeding)
    assert runs.status("run-a").state == "succeeded"


def test_lines_of_several_threads_stay_whole_in_the_log(drive, runs, monkeypatch) -> None:
    def keeping(job: TrainJob, parts: JobParts) -> tuple[ModelVersion, ...]:
        assert parts.on_kept is not None
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(parts.on_kept, ["weights"] * 2000, range(2000)))
        return ()

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        drive(keeping)
    finally:
        sys.setswitchinterval(interval)
    stored = [line for line in runs.read_log("run-a")[0].split("\n") if "stored" in line]
    assert sorted(stored) == sorted(f"stored weights, {size} bytes" for size in range(2000))


PLAN = {"steps": [10, 100], "every_s": 60, "guards": {"max_error_rate": 0.01}}


def publishing(job: TrainJob, parts: JobParts) -> tuple[ModelVersion, ...]:
    return (parts.versions.publish(draft(parts.run_id), FILES),)


@pytest.mark.parametrize("deployed", [True, False])
def test_a_version_whose_job_asks_for_it_is_rolled_out_or_the_log_says_why_not(
    drive, runs, tmp_path, deployed
) -> None:
    registry = wiring.open_registry(str(tmp_path))
    registry.versions.publish(draft("train-digits-0"), FILES)
    if deployed:
        registry.states.move("digits", partial(moves.deploy, version=1), who="ana")
    plain = run_spec("run-b")
    job = plain.job.model_copy(update={"rollout": RolloutPlan.parse(PLAN, source="plan")})
    runs.create(plain.model_copy(update={"job": job}))
    drive(publishing, "run-b")
    ended, log = runs.status("run-b"), runs.read_log("run-b")[0]
    assert (ended.state, ended.version) == ("succeeded", 2)
    begun = wiring.open_conductor(registry).rollouts.newest("digits")
    if deployed:
        assert "digits@2 begins at 10 % beside 1" in log
        assert begun is not None
        assert (begun.new, begun.old, begun.decision.why) == (2, 1, "by run-b")
        assert registry.states.current("digits").traffic == {1: 90, 2: 10}
    else:
        assert "digits@2 is not rolled out: nothing answers yet" in log
        assert begun is None


def test_a_version_whose_job_does_not_ask_changes_nothing_that_is_served(drive, runs, tmp_path) -> None:
    registry = wiring.open_registry(str(tmp_path))
    registry.versions.publish(draft("train-digits-0"), FILES)
    before = registry.states.move("digits", partial(moves.deploy, version=1), who="ana")
    drive(publishing)
    assert runs.status("run-a").version == 2
    assert registry.states.current("digits") == before
    assert wiring.open_conductor(registry).rollouts.newest("digits") is None
