"""Retention: what runs leave is kept for some days after their end, and history for ever."""

from __future__ import annotations

import json
from datetime import datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pytest
from registry_examples import START, Clock, run_spec

from raymaas.cli.local import up_options
from raymaas.cli.main import main
from raymaas.errors import InvalidInput, NotFound
from raymaas.registry.blobs import Blobs
from raymaas.registry.collector import Collector
from raymaas.registry.feedback import FeedbackLog
from raymaas.registry.layout import blob_key, log_folder, train_path, tune_path
from raymaas.registry.requests import Requests
from raymaas.registry.runs import Runs
from raymaas.registry.samples import Samples
from raymaas.registry.sampling import SamplingRules
from raymaas.settings import load_settings
from raymaas.specs.feedback import Feedback
from raymaas.specs.requests import RequestChunk
from raymaas.specs.retention import Retention
from raymaas.specs.runs import EpochMetrics, Failed, Pending, Running, RunState, Stopped, Succeeded
from raymaas.specs.sampling import SamplingRule
from raymaas.specs.search import Finished, Trial
from raymaas.store import LocalStore

DAY = timedelta(days=1)
AT = pa.timestamp("us", "UTC")
KEEP = Retention(keep_checkpoints_days=7, keep_trial_files_days=30, keep_logs_days=90)


class ClockedStore(LocalStore):
    """A folder whose clock is the test's."""

    def __init__(self, root: Path, clock: Clock) -> None:
        super().__init__(root)
        self._clock = clock

    def now(self) -> datetime:
        return self._clock.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def store(tmp_path: Path, clock: Clock) -> ClockedStore:
    return ClockedStore(tmp_path / "store", clock)


ENDS = [
    Succeeded(at=START, version=None, seconds=1),
    Failed(at=START, error="no"),
    Stopped(at=START, who="ana"),
]


def leave(store: ClockedStore, run_id: str, state: RunState) -> str:
    """A run with all that a run may leave; returns the key of its trial's file."""
    runs = Runs(store)
    runs.create(run_spec(run_id))
    runs.set_status(run_id, Running(at=START, step="training"))
    runs.append_log(run_id, 1, "first\n")
    runs.append_log(run_id, 2, "second\n")
    runs.add_epoch(EpochMetrics(run_id=run_id, epoch=1, metrics={"loss": 1.0}))
    entry = Blobs(store).put(run_id.encode(), name="model.rmz")
    made = Finished(metrics={"bytes": 1.0}, reports=1, seconds=1, files={"model.rmz": entry})
    runs.add_trial(Trial(run_id=run_id, trial="t-1", point={}, outcome=made))
    # Names as Ray writes them, of which some are no keys of a store.
    for path in (
        f"{train_path(run_id)}/{run_id}/checkpoint_2026-03-01_00-00-00.1/state.safetensors",
        f"{train_path(run_id)}/{run_id}/.validate_storage_marker",
        f"{tune_path(run_id)}/{run_id}-0/_carry_out_1_bits=4,share=0.5_2026/params.pkl",
    ):
        (store.root / path).parent.mkdir(parents=True, exist_ok=True)
        (store.root / path).write_bytes(b"ray's")
    if not isinstance(state, Running):
        runs.set_status(run_id, state)
    return blob_key(entry)


def collect(store: ClockedStore) -> None:
    Collector(store, KEEP, holder="ana").collect()


def ray_left(store: ClockedStore, run_id: str) -> bool:
    return any((store.root / path).exists() for path in (train_path(run_id), tune_path(run_id)))


def log_left(store: ClockedStore, run_id: str) -> list[str]:
    return store.list(log_folder(run_id))


@pytest.mark.parametrize("end", ENDS, ids=lambda end: end.state)
def test_each_rule_takes_its_own_when_its_days_are_over(
    store: ClockedStore, clock: Clock, end: RunState
) -> None:
    trial_file = leave(store, "run-1", end)
    seen = []
    for days in (7, 30, 90):
        for moment in (START + days * DAY - timedelta(seconds=1), START + days * DAY):
            clock.now = moment
            collect(store)
            seen.append((ray_left(store, "run-1"), store.exists(trial_file), len(log_left(store, "run-1"))))
    assert seen == [
        (True, True, 2),
        (False, True, 2),
        (False, True, 2),
        (False, False, 2),
        (False, False, 2),
        (False, False, 0),
    ]


def test_history_is_never_collected(store: ClockedStore, clock: Clock) -> None:
    leave(store, "run-1", ENDS[0])
    runs = Runs(store)
    before = (runs.get("run-1"), runs.spec("run-1"), runs.epochs("run-1"), runs.trials("run-1"))
    clock.now += 5000 * DAY
    collect(store)
    assert before == (runs.get("run-1"), runs.spec("run-1"), runs.epochs("run-1"), runs.trials("run-1"))
    assert [run.run_id for run in runs.list()] == ["run-1"]
    assert runs.read_log("run-1") == ("", 0)


@pytest.mark.parametrize("state", [Pending(at=START), Running(at=START, step="training")])
def test_a_run_that_has_not_ended_keeps_all_it_needs_to_be_carried_on(
    store: ClockedStore, clock: Clock, state: RunState
) -> None:
    trial_file = leave(store, "run-1", state)
    if isinstance(state, Pending):
        for key in store.list("runs/run-1/status/"):
            store.delete(key)
    clock.now += 5000 * DAY
    plan = Collector(store, KEEP, holder="ana").collect()
    assert plan.files.kept == {"of trials": 1}
    assert plan.logs.kept == plan.checkpoints.kept == {"runs that have not ended": 1}
    assert ray_left(store, "run-1")
    assert store.exists(trial_file)
    assert len(log_left(store, "run-1")) == 2


def test_a_survey_shows_each_rule(store: ClockedStore, clock: Clock) -> None:
    leave(store, "old", ENDS[0])
    leave(store, "new", Failed(at=START + 80 * DAY, error="no"))
    leave(store, "open", Running(at=START, step="training"))
    clock.now = START + 90 * DAY
    surveyed = Collector(store, KEEP, holder="ana").survey()
    assert surveyed.checkpoints.delete == ("new", "old")
    assert surveyed.logs.delete == ("old",)
    assert surveyed.logs.kept == {"runs that have not ended": 1, "runs that ended less than 90 days ago": 1}
    assert surveyed.files_bytes == len("old")
    collect(store)
    again = Collector(store, KEEP, holder="ana").survey()
    assert (again.files.delete, again.checkpoints.delete, again.logs.delete) == ((), (), ())


def test_requests_are_kept_for_their_days(store: ClockedStore, clock: Clock) -> None:
    requests = Requests(store)
    for model, version, days in (("digits", 1, 0), ("digits", 2, 1), ("other", 1, 31)):
        requests.append(
            RequestChunk(
                model=model,
                version=version,
                replica="r1",
                request_ids=("some-id",),
                at_ms=(0,),
                statuses=(200,),
                microseconds=(5,),
                rows=(1,),
                key_ids=(),
                asked_with=(0,),
                dropped=0,
            ),
            at=START + days * DAY,
        )
    clock.now = START + 30 * DAY + timedelta(hours=1)
    assert len(Collector(store, KEEP, holder="ana").collect().requests.delete) == 1
    with pytest.raises(NotFound, match="keep_requests_days"):
        requests.find("digits", 1, "some-id")
    assert requests.find("digits", 2, "some-id").status == 200
    assert requests.find("other", 1, "some-id").status == 200


def test_samples_and_feedback_are_kept_for_the_days_of_their_models_rule(
    store: ClockedStore, clock: Clock
) -> None:
    rules, feedback = SamplingRules(store), FeedbackLog(store)
    for model, days in (("digits", 7), ("other", 30), ("ended", 7)):
        rules.set(model, SamplingRule(rate=1, keep_days=days), who="ana")
    for model in ("digits", "other", "ended"):
        rows = pa.table({"request_id": ["r"], "row": pa.array([0], pa.int32()), "at": pa.array([START], AT)})
        Samples(store).append(model, 2, rows, replica="r4x", at=START)
        feedback.append(model, [Feedback(request_id="r", reward=1)])
    rules.remove("ended", who="ana")
    left = []
    for after in (7 * DAY - timedelta(seconds=1), 7 * DAY + timedelta(seconds=1), 31 * DAY):
        clock.now = START + after
        collect(store)
        kept = [key.split("/")[:2] for folder in ("samples/", "feedback/") for key in store.list(folder)]
        left.append([name for _, name in kept])
    assert left == [["digits", "ended", "other"] * 2, ["other"] * 2, []]


def test_days_are_settings(tmp_path: Path) -> None:
    settings = load_settings({"RAYMAAS_KEEP_LOGS_DAYS": "5"}, home=tmp_path)
    assert settings.retention == up_options(settings).retention == Retention(keep_logs_days=5)
    assert up_options(settings).gc_every_hours == 24
    with pytest.raises(InvalidInput, match="keep_checkpoints_days"):
        load_settings({"RAYMAAS_KEEP_CHECKPOINTS_DAYS": "0"}, home=tmp_path)


def gc(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as raised:
        main(["gc", *arguments])
    told = capsys.readouterr()
    return int(raised.value.code or 0), told.out, told.err


def test_the_command_shows_first_and_then_deletes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAYMAAS_HOME", str(tmp_path / "home"))
    store = LocalStore(tmp_path / "store")
    clock = Clock()
    leave(
        ClockedStore(store.root, clock), "run-1", Succeeded(at=store.now() - 8 * DAY, version=None, seconds=1)
    )
    Blobs(ClockedStore(store.root, clock)).put(b"left by a crash", name="f")
    where = ("--storage", store.url)
    status, out, _ = gc(capsys, *where, "--dry-run")
    assert status == 0
    assert (
        "would delete files: 1 (15 bytes); checkpoints of runs: 1; logs of runs: 0; parts of the request log: 0;"
        " counts for drift: 0" in out
    )
    assert "1 of trials" in out
    assert "1 runs that ended less than 90 days ago" in out
    status, out, _ = gc(capsys, *where, "--dry-run", "--json")
    assert json.loads(out)["files"] == {"delete": 1, "keep": {"of trials": 1}}
    assert len(store.list("blobs/")) == 2
    status, out, _ = gc(capsys, *where)
    assert "deleted files: 1 (15 bytes); checkpoints of runs: 1" in out
    assert len(store.list("blobs/")) == 1
    assert not (store.root / train_path("run-1")).exists()


def test_the_command_refuses_a_grace_that_publishers_do_not_know_and_writes_nothing_into_nowhere(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAYMAAS_HOME", str(tmp_path / "home"))
    status, _, err = gc(capsys, "--storage", str(tmp_path / "store"), "--grace", "23.9")
    assert status == 1
    assert "a grace of 23.9 h could take files from under a version being published" in err
    status, _, err = gc(capsys, "--storage", str(tmp_path / "store"))
    assert status == 0
    assert "is empty" in err
    assert not (tmp_path / "store").exists()
