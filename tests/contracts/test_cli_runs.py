"""What `raymaas runs` shows of a run, and the files it brings: against a real server."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import re
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from control_server import JOB, Switch, Type, World, utc_now

from raymaas.cli.liveline import LiveLine
from raymaas.client import Client
from raymaas.specs.budget import Spent
from raymaas.specs.runs import EpochMetrics, Failed, FirstStep, Running, RunProgress, Stopped

FIRST_STEP = FirstStep(
    driver_s=1, joining_s=2, data_s=0.5, workers_s=6, reading_s=0.25, building_s=0.125, step_s=0.125
)
MEASURED = {"validation_loss": 0.25, "rows": 100.0, "seconds": 0.5}
LINES = "training mlp\nepoch 1/2  loss 1.0\nepoch 2/2  loss 0.5\nbuilding the bundle\n"


@pytest.fixture
def run_id(world: World, server: tuple[str, Switch]) -> str:
    """A run that has succeeded, with all that a training leaves."""
    with Client(server[0]) as client:
        run_id = client.train(JOB).run_id
    world.runs.add_epoch(EpochMetrics(run_id=run_id, epoch=2, metrics=MEASURED))
    world.runs.progresses.replace(progress(run_id))
    world.runs.append_log(run_id, 3, LINES)
    artifacts = world.runs.artifacts(run_id)
    artifacts.keep("report/report.md", b"# digits@1\n\n![Losses](learning.png)\n")
    artifacts.keep("report/learning.png", b"png")
    artifacts.keep("tensorboard/events.out.tfevents.1", b"events")
    return run_id


def progress(run_id: str, **changes: object) -> RunProgress:
    fields = {
        "epoch": 2,
        "share": 1.0,
        "epochs": 2,
        "samples_per_s": 12345.6,
        "spent": Spent(seconds=3661, cpu_seconds=7200),
        "first_step": FIRST_STEP,
    }
    return RunProgress(run_id=run_id, at=utc_now(), **(fields | changes))


def test_show_says_what_was_used_and_what_to_do_next(world: World, raymaas: Type, run_id: str) -> None:
    status, out, _ = raymaas("runs", "show", run_id)
    assert status == 0
    assert "used 1:01:01 (1.0169 hours), 2.0000 CPU hours\n" in out
    assert "first step after 10.0 s: Ray starting the driver 1.0, imports and joining 2.0," in out
    assert f"next: `raymaas runs report {run_id}` shows how good it is, `raymaas deploy digits@1`" in out
    shown = json.loads(raymaas("runs", "show", run_id, "--json")[1])
    assert shown["progress"]["spent"]["cpu_seconds"] == 7200
    assert shown["files"][0]["name"] == "report/learning.png"


def test_show_counts_what_a_run_continues(world: World, raymaas: Type, run_id: str) -> None:
    world.runs.progresses.replace(progress(run_id, before=Spent(seconds=3600, cpu_seconds=3600)))
    assert "; with what it continues 2.0169 hours, 3.0000 CPU hours\n" in raymaas("runs", "show", run_id)[1]


def test_a_run_that_its_budget_stopped_says_how_to_go_on(
    world: World, raymaas: Type, server: tuple[str, Switch]
) -> None:
    world.outcome = "never ends"
    with Client(server[0]) as client:
        run_id = client.train(JOB).run_id
    advice = f"what it trained is kept, and `raymaas runs resume {run_id} --set budget.hours=MORE` goes on"
    why = f"the run used 1.2 of its budget of 1 hours; {advice}"
    world.runs.set_status(run_id, Stopped(at=utc_now(), who="its budget", why=why))
    out = raymaas("runs", "show", run_id)[1]
    assert "stopped by its budget: the run used 1.2 of its budget of 1 hours\n" in out
    assert f"next: {advice}\n" in out
    listed = raymaas("runs", "list")[1]
    assert "by its budget: the run used 1.2 of its budget of 1 hours  " in listed


@pytest.mark.parametrize(
    ("outcome", "advice"),
    [("fails", "says why, `raymaas runs resume"), ("never ends", "--follow` follows it, `raymaas runs stop")],
)
def test_whatever_became_of_a_run_there_is_a_next_step(
    world: World, raymaas: Type, server: tuple[str, Switch], outcome: str, advice: str
) -> None:
    world.outcome = outcome
    with Client(server[0]) as client:
        run_id = client.train(JOB).run_id
    assert advice in raymaas("runs", "show", run_id)[1].splitlines()[-1]


@pytest.mark.parametrize(
    ("ended", "advice"),
    [
        (
            Failed(at=utc_now(), error="no rows"),
            "says why, `raymaas runs report RUN` how far it got, `raymaas runs",
        ),
        (
            Stopped(at=utc_now(), who="bob"),
            "next: `raymaas runs report RUN` shows how far it got, `raymaas runs",
        ),
        (Stopped(at=utc_now(), who="its budget", why="it is spent; give more"), "how far it got, give more"),
    ],
)
def test_a_run_that_ended_early_names_its_report(
    world: World, raymaas: Type, server: tuple[str, Switch], ended: Failed | Stopped, advice: str
) -> None:
    world.outcome = "never ends"
    with Client(server[0]) as client:
        run_id = client.train(JOB).run_id
    world.runs.artifacts(run_id).keep("report/report.md", b"# early\n")
    world.runs.set_status(run_id, ended)
    assert advice.replace("RUN", run_id) in raymaas("runs", "show", run_id)[1].splitlines()[-1]
    assert raymaas("runs", "report", run_id)[1] == "# early\n"


def test_a_report_is_printed_or_brought_with_its_pictures(raymaas: Type, run_id: str, tmp_path: Path) -> None:
    status, out, err = raymaas("runs", "report", run_id)
    assert (status, out) == (0, "# digits@1\n\n![Losses](learning.png)\n")
    assert "--to FOLDER" in err
    status, out, _ = raymaas("runs", "report", run_id, "--to", str(tmp_path / "there"))
    assert (status, out) == (0, f"{tmp_path}/there/report.md with learning.png\n")
    assert (tmp_path / "there/learning.png").read_bytes() == b"png"
    (tmp_path / "file").touch()
    status, _, err = raymaas("runs", "report", run_id, "--to", str(tmp_path / "file"))
    assert status == 1
    assert "is a file; name a folder" in err


def test_a_run_without_a_report_says_why(world: World, raymaas: Type, server: tuple[str, Switch]) -> None:
    world.outcome = "fails"
    with Client(server[0]) as client:
        run_id = client.train(JOB).run_id
    status, _, err = raymaas("runs", "report", run_id)
    assert status == 1
    assert f"run '{run_id}' is failed and has no report" in err
    assert "no event files yet" in raymaas("runs", "tensorboard", run_id, "--to", "x")[2]


def test_event_files_are_brought_run_by_run(raymaas: Type, run_id: str, tmp_path: Path) -> None:
    status, out, err = raymaas("runs", "tensorboard", run_id, "--to", str(tmp_path))
    assert (status, out) == (0, f"{tmp_path}/{run_id}: 1 event files\n")
    assert f"`tensorboard --logdir {tmp_path}`" in err
    assert (tmp_path / run_id / "events.out.tfevents.1").read_bytes() == b"events"


def test_runs_are_compared_in_one_table(
    world: World, raymaas: Type, run_id: str, server: tuple[str, Switch]
) -> None:
    with Client(server[0]) as client:
        wide = JOB["architecture"] | {"config": {"hidden": [16, 8]}}
        other = client.train(JOB | {"architecture": wide}).run_id
    status, out, _ = raymaas("runs", "compare", run_id, other)
    assert status == 0
    table = [re.split(r"  +", line.strip()) for line in out.splitlines()]
    assert table[0] == [run_id, other]
    assert ["architecture.config.hidden", "[8]", "[16,8]"] in table
    assert not [row for row in table if row[0] == "model"], "what is alike is left out"
    assert ["validation loss", "0.25", "-"] in table
    assert ["samples/s", "200", "-"] in table
    assert ["test accuracy", "0.97", "0.97"] in table
    assert ["time", "1:01:01", "-"] in table
    assert ["CPU hours", "2.0000", "-"] in table
    found = json.loads(raymaas("runs", "compare", run_id, other, "--json")[1])
    assert found["runs"][1]["settings"] == {"architecture.config.hidden": [16, 8]}


def test_a_pipe_gets_the_log_as_it_is(raymaas: Type, run_id: str) -> None:
    assert raymaas("runs", "logs", run_id, "--follow")[1].endswith(LINES)


def test_a_terminal_gets_the_log_without_its_epochs_and_a_line_that_says_them(
    run_id: str, server: tuple[str, Switch]
) -> None:
    shown = on_a_terminal("--url", server[0], "runs", "logs", run_id, "--follow")
    assert "building the bundle" in shown
    assert "epoch 1/2  loss 1.0" not in shown
    assert "epoch 2/2" in shown
    assert "12,346 samples/s" in shown


def test_the_line_tells_the_time_left_and_goes_on_between_two_events() -> None:
    now = [0.0]
    line = LiveLine(clock=lambda: now[0])
    line.hear(Running(at=utc_now(), step="preparing data set digits"))
    now[0] = 7.0
    assert line.text() == "preparing data set digits  0:00:07"
    line.hear(progress("r", epoch=1, share=0.5, epochs=4, spent=Spent(seconds=40)))
    assert "epoch 1/4" in line.text()
    assert "12%" in line.text()
    assert "ETA 0:03:30" in line.text(), "3.5 epochs of 60 s: half of one took the 30 s since the first step"
    metrics = {"train_loss": 0.5, "validation_loss": 0.25, "validation_accuracy": 0.75, "seconds": 10.0}
    line.hear(EpochMetrics(run_id="r", epoch=1, metrics=metrics))
    line.hear(progress("r", epoch=1, share=1.0, epochs=4, spent=Spent(seconds=70)))
    now[0] = 12.0
    assert line.text().endswith(
        "loss 0.5  validation loss 0.25  accuracy 0.75  12,346 samples/s  elapsed 0:01:15  ETA 0:00:30"
    )


def on_a_terminal(*arguments: str) -> str:
    """What `raymaas` with these arguments writes to a terminal."""
    ours, theirs = pty.openpty()
    shown: list[bytes] = []

    def read_all() -> None:
        with contextlib.suppress(OSError):
            while data := os.read(ours, 65536):
                shown.append(data)

    reader = threading.Thread(target=read_all)
    reader.start()
    subprocess.run(
        [sys.executable, "-m", "raymaas.cli.main", *arguments],
        stdout=theirs,
        stderr=theirs,
        env=os.environ | {"TERM": "xterm", "COLUMNS": "200"},
        timeout=60,
        check=True,
    )
    os.close(theirs)
    reader.join()
    os.close(ours)
    return b"".join(shown).decode()
