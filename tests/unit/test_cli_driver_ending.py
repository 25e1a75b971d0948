"""How a driver's run ends: its state is recorded whatever comes while it ends, and its report comes after."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
from registry_examples import run_spec

from raymaas import wiring
from raymaas.cli.driver import carry_out
from raymaas.jobs.recording import Recorder
from raymaas.registry.runs import Runs

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

    def carried_out(work: Callable[..., None]) -> None:
        monkeypatch.setattr("raymaas.jobs.kinds.carry_out_job", work)
        carry_out(None, run_id="run-a", storage=str(tmp_path), overrides=[])

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
