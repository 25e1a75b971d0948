"""The command line against a real server: what users type, see, and get as exit status."""

from __future__ import annotations

import contextlib
import getpass
import json
import os
import pty
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from control_server import Switch, Type, World
from registry_examples import FILES, accounting, draft

from raymaas.errors import Unavailable
from raymaas.specs.jobs import Component, TrainJob
from raymaas.specs.versions import CompressionLineage

JOB = "model: digits\ndata: {use: digits}\narchitecture: {use: mlp}\ntraining: {epochs: 9}\n"


@pytest.fixture
def job(tmp_path: Path) -> str:
    (tmp_path / "job.yaml").write_text(JOB)
    return str(tmp_path / "job.yaml")


def test_train_follows_the_run_to_its_version(world: World, raymaas: Type, job: str) -> None:
    status, out, err = raymaas("train", job, "--set", "training.epochs=2")
    assert status == 0
    assert out == "digits@1: accuracy 0.9700 (0.9500 to 0.9800) on 360 test rows\n"
    assert "loading rows" in err
    assert "published digits@1" in err
    assert "epoch" not in err, "the figures of an epoch are the log's to show"
    (run,) = world.runs.list()
    assert len(world.runs.epochs(run.run_id)) == 2


def test_train_on_a_terminal_leaves_the_epochs_figures_to_the_log(
    world: World, server: tuple[str, Switch], job: str
) -> None:
    ours, theirs = pty.openpty()
    shown: list[bytes] = []
    reader = threading.Thread(target=_read_all, args=(ours, shown))
    reader.start()
    options = ["--url", server[0], "train", job, "--set", "training.epochs=2"]
    subprocess.run(
        [sys.executable, "-m", "raymaas.cli.main", *options],
        stdout=subprocess.DEVNULL,
        stderr=theirs,
        env=os.environ | {"TERM": "xterm", "COLUMNS": "200"},
        timeout=60,
        check=True,
    )
    os.close(theirs)
    reader.join()
    os.close(ours)
    text = b"".join(shown).decode()
    assert "loading rows" in text
    assert "\x1b[" in text, "this is what a terminal gets"
    assert "loss" not in text


def test_train_of_a_job_that_fails_has_status_1_and_names_the_log(
    world: World, raymaas: Type, job: str
) -> None:
    world.outcome = "fails"
    status, out, err = raymaas("train", job)
    assert (status, out) == (1, "")
    assert "Traceback: no rows" in err
    assert "failed: no rows; see `raymaas runs logs train-digits-" in err


def test_train_without_waiting_prints_the_run_alone(world: World, raymaas: Type, job: str) -> None:
    world.outcome = "never ends"
    status, out, _ = raymaas("train", job, "--no-wait")
    assert (status, out.strip()) == (0, world.runs.list()[0].run_id)


def test_train_takes_other_rows_and_a_version_to_start_from(world: World, raymaas: Type, job: str) -> None:
    world.publish()
    assert raymaas("train", job, "--data", "feedback:digits@1", "--init-from", "digits@1")[0] == 0
    (run,) = world.runs.list()
    asked = world.runs.spec(run.run_id).job
    assert isinstance(asked, TrainJob)
    assert (asked.data.use, asked.data.config["of"]) == ("feedback", "digits@1")
    assert asked.init_from == "digits@1"
    status, _, err = raymaas("train", job, "--data", "csv:a.csv")
    assert status == 1
    assert "--data is a name such as mnist, or feedback:MODEL@VERSION, got 'csv:a.csv'" in err
    status, _, err = raymaas("train", job, "--data", "feedback:digits@prod")
    assert status == 1
    assert "alias 'prod' of 'digits' does not exist" in err
    assert len(world.runs.list()) == 1


def test_a_mistake_in_the_job_file_never_reaches_the_server(world: World, raymaas: Type, job: str) -> None:
    Path(job).write_text(JOB.replace("epochs", "epocs"))
    status, _, err = raymaas("train", job)
    assert status == 1
    assert "line 4: training.epocs: unknown field; did you mean 'epochs'?" in err
    assert world.runs.list() == []


def test_runs_are_listed_shown_read_and_stopped(world: World, raymaas: Type, job: str) -> None:
    assert "there are no runs yet; `raymaas init` writes a job file" in raymaas("runs", "list")[2]
    raymaas("train", job, "--set", "training.epochs=2")
    world.outcome = "never ends"
    _, going, _ = raymaas("train", job, "--no-wait")
    _, out, _ = raymaas("runs", "list")
    assert [line.split()[2] for line in out.splitlines()[1:]] == ["running", "succeeded"]
    newest, ended = json.loads(raymaas("runs", "list", "--json")[1])
    assert newest["run_id"] == going.strip()
    assert "loss" in raymaas("runs", "show", ended["run_id"])[1]
    assert json.loads(raymaas("runs", "show", ended["run_id"], "--json")[1])["epochs"] == [
        {"epoch": 1, "loss": 1.0},
        {"epoch": 2, "loss": 0.5},
    ]
    assert raymaas("runs", "logs", ended["run_id"], "--follow")[1] == "loading rows\npublished digits@1\n"
    assert "stopped by" in raymaas("runs", "stop", newest["run_id"])[1]


def test_a_failed_run_is_resumed_and_followed_to_its_version(world: World, raymaas: Type, job: str) -> None:
    world.outcome = "fails"
    run_id = raymaas("train", job, "--no-wait")[1].strip()
    world.outcome = "succeeds"
    status, out, err = raymaas("runs", "resume", run_id)
    assert status == 0
    assert out.startswith("digits@1: accuracy 0.9700")
    assert f"run {run_id}-r2 accepted" in err
    assert f"goes on from {run_id}, its newest checkpoint" in raymaas("runs", "show", f"{run_id}-r2")[1]
    status, _, err = raymaas("runs", "resume", run_id)
    assert status == 1
    assert f"see `raymaas runs show {run_id}-r2`" in err
    status, _, err = raymaas("runs", "resume", run_id, "--from-epoch", "7", "--set", "training.epochs=9")
    assert status == 1
    assert "no checkpoint of epoch 7; it has none" in err


def test_models_are_listed_and_shown_with_how_they_run(world: World, raymaas: Type) -> None:
    assert raymaas("models", "list")[2].strip() == "there is no model yet; train one first"
    world.publish()
    world.publish()
    world.deploy(1)
    assert raymaas("alias", "set", "digits@prod", "2")[1] == "digits@prod is digits@2\n"
    assert raymaas("models", "list")[1].splitlines()[1].split() == ["digits", "2", "prod=2", "1=100"]
    _, out, _ = raymaas("models", "show", "digits")
    assert "aliases: prod=2" in out
    first = next(line for line in out.splitlines() if line.startswith("1 "))
    assert "accuracy 0.9700" in first
    assert "ready" in first
    assert "100 %" in first
    assert "digits@2" in raymaas("models", "show", "digits@prod")[1]
    assert json.loads(raymaas("models", "show", "digits", "--json")[1])["aliases"] == {"prod": 2}
    assert json.loads(raymaas("models", "show", "digits@1", "--json")[1])["version"] == 1
    assert "prod: none -> 2" in raymaas("models", "history", "digits")[1]


def test_a_compressed_version_says_how_fast_it_is_and_what_a_pass_did_not_bring(
    world: World, raymaas: Type
) -> None:
    known = draft("compress-digits-1")
    compression = CompressionLineage(
        recipe=(Component(use="prune"),),
        trial="t-1",
        original=1,
        original_bytes=700,
        parent_evaluation=known.evaluation,
        accounting=accounting(),
    )
    lineage = known.lineage.model_copy(update={"compression": compression})
    world.versions.publish(known.model_copy(update={"lineage": lineage}), FILES)

    lines = raymaas("models", "show", "digits@1")[1].splitlines()

    assert (
        "speed         onnx-int8 60,000 rows/s in batches of 64, 6.0 times the original in torch; "
        "prune: no speed in onnx-int8"
    ) in lines


def test_deploy_move_traffic_and_undeploy(world: World, raymaas: Type) -> None:
    world.publish()
    world.publish()
    assert raymaas("deploy", "digits@1")[:2] == (0, "digits@1 is ready\n")
    status, out, _ = raymaas("deploy", "digits@2", "--replicas", "2", "--max-replicas", "4", "--json")
    assert (status, json.loads(out)["scaling"]["2"]["max_replicas"]) == (0, 4)
    _, out, _ = raymaas("traffic", "digits", "1=90", "2=10", "--why", "canary")
    assert out == "digits: traffic: 1=100% 2=0% -> 1=90% 2=10%\n"
    assert "canary" in raymaas("models", "history", "digits")[1]
    _, out, _ = raymaas("traffic", "digits", "--sticky", "header:x-user")
    assert out == "digits: sticky: none -> header:x-user\n"
    assert "sticky: header:x-user\n" in raymaas("models", "show", "digits")[1]
    status, _, err = raymaas("traffic", "digits", "--sticky", "header:x-user", "--no-sticky")
    assert (status, "contradict" in err) == (1, True)
    assert raymaas("traffic", "digits", "--no-sticky")[1] == "digits: sticky: header:x-user -> none\n"
    assert "nothing is to change" in raymaas("traffic", "digits")[2]
    _, out, _ = raymaas("traffic", "digits", "--shadow", "digits@2", "--sample", "0.2")
    assert out == "digits: shadow: none -> 2 of 20%\n"
    assert "digits@2 gets copies of 20 % of the requests" in raymaas("models", "show", "digits")[1]
    assert raymaas("traffic", "digits", "--no-shadow")[1] == "digits: shadow: 2 of 20% -> none\n"
    status, _, err = raymaas("undeploy", "digits@2")
    assert status == 1
    assert "10 % of the traffic" in err
    raymaas("traffic", "digits", "1=100")
    assert raymaas("undeploy", "digits@2")[:2] == (0, "digits@2 is stopping\n")
    status, out, _ = raymaas("models", "delete", "digits@2", "--yes", "--why", "wrong labels")
    assert (status, out) == (0, "deleted digits@2 (2: kept -> deleted)\n")
    assert "wrong labels" in raymaas("models", "show", "digits@2")[2]
    assert raymaas("models", "delete", "digits@1", "--yes")[0] == 1


def test_promote_roll_back_and_read_who_did_it(world: World, raymaas: Type) -> None:
    world.publish()
    world.publish()
    raymaas("deploy", "digits@1")
    raymaas("deploy", "digits@2")
    moved = "digits at revision 3: aliases prod=2, traffic 2=100\n"
    assert raymaas("promote", "digits@2", "--why", "better")[:2] == (0, moved)
    assert raymaas("promote", "digits@2")[:2] == (0, moved)
    back = "digits at revision 4: aliases none, traffic 1=100\n"
    assert raymaas("rollback", "digits", "--why", "slow")[:2] == (0, back)
    status, _, err = raymaas("rollback", "digits")
    assert status == 1
    assert "is left to roll back" in err
    assert json.loads(raymaas("rollback", "digits", "--to", "3", "--json")[1])["aliases"] == {"prod": 2}
    header, newest, *older = raymaas("models", "history", "digits")[1].splitlines()
    assert header.split() == ["revision", "when", "who", "action", "from", "->", "to", "why"]
    assert newest.split()[0] == "5"
    assert "as of 3: prod: none -> 2; traffic: 1=100% 2=0% -> 1=0% 2=100%" in newest
    assert newest.split()[3] == getpass.getuser()
    assert "better" in older[1]
    _, out, _ = raymaas("models", "history", "digits", "--limit", "1", "--before", "4")
    assert [line.split()[0] for line in out.splitlines()[1:]] == ["3"]


def test_predict_names_the_class_of_each_row(world: World, raymaas: Type, tmp_path: Path) -> None:
    world.publish()
    world.deploy(1)
    rows = tmp_path / "rows.json"
    rows.write_text("[[1.0, 2.0], [-3.0, 0.5]]")
    status, out, err = raymaas("predict", "digits@1", "--input", str(rows))
    assert status == 0
    assert [line.split()[:2] for line in out.splitlines()[1:]] == [["0", "plus"], ["1", "minus"]]
    assert "answered by digits@1" in err
    _, out, _ = raymaas("predict", "digits", "-i", str(rows), "--json")
    assert json.loads(out)["outputs"]["logits"] == [[3.0, -3.0], [-2.5, 2.5]]
    status, _, err = raymaas("predict", "digits@9", "-i", str(rows))
    assert status == 1
    assert "digits@9" in err


def test_the_servers_sentence_is_what_the_user_reads(world: World, raymaas: Type, job: str) -> None:
    world.refusal = Unavailable("Ray does not answer; look at its head")
    status, out, err = raymaas("train", job)
    assert (status, out) == (1, "")
    assert err == "error: Ray does not answer; look at its head\n"


def test_a_wide_table_is_neither_cut_nor_wrapped_in_a_pipe(
    world: World, server: tuple[str, Switch], job: str
) -> None:
    model = "a-model-with-quite-a-long-name-to-fill-a-line"
    for _ in range(2):
        world.publish(model)
    command = [sys.executable, "-m", "raymaas.cli.main", "--url", server[0], "models", "show", model]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    assert [line.split()[-1] for line in done.stdout.splitlines()[1:]] == [
        f"train-{model}-{n}" for n in (2, 1)
    ]
    assert "\x1b" not in done.stdout


def _read_all(descriptor: int, shown: list[bytes]) -> None:
    """Read until the other side of the pseudo-terminal is closed, which reads as an error."""
    with contextlib.suppress(OSError):
        while data := os.read(descriptor, 65536):
            shown.append(data)
