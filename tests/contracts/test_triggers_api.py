"""Triggers over HTTP, from Python, and typed."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import orjson
import pytest
from control_server import JOB, Type, World

from raymaas.errors import InvalidInput, NotFound
from raymaas.registry import moves
from raymaas.registry.triggers import Triggers
from raymaas.specs.jobs import TrainJob
from raymaas.specs.runs import RunSpec
from raymaas.specs.triggers import TriggerStart

NIGHTLY = JOB | {"kind": "train", "start": {"every_h": 24}}


def started(world: World, name: str, run_id: str) -> None:
    now = datetime.now(UTC) - timedelta(minutes=5)
    fields = {"name": name, "revision": 1, "write_id": "w", "run_id": run_id, "due": now, "at": now}
    said = {"why": "every 24 h", "who": "ana", "job": JOB}
    start = TriggerStart.model_validate(fields | said)
    Triggers(world.store).claim(start)


def test_a_trigger_is_registered_shown_paused_and_removed(world: World, client: Any) -> None:
    made = client.triggers.set("nightly", NIGHTLY, why="it drifts")
    assert (made.name, made.revision, made.why, made.paused) == ("nightly", 1, "it drifts", False)
    assert client.triggers.list() == (made,)
    started(world, "nightly", "train-digits-1")
    found = client.triggers.get("nightly")
    assert [start.run_id for start in found.starts] == ["train-digits-1"]
    assert client.triggers.pause("nightly").paused
    assert not client.triggers.resume("nightly").paused
    assert client.triggers.remove("nightly").job is None
    assert client.triggers.list() == ()
    with pytest.raises(NotFound, match="trigger 'nightly' does not exist"):
        client.triggers.get("nightly")


def test_a_job_that_says_no_time_or_is_no_training_is_refused(world: World, client: Any) -> None:
    with pytest.raises(InvalidInput, match="does not say when to run: give it a section such as start"):
        client.triggers.set("nightly", JOB | {"kind": "train"})
    with pytest.raises(InvalidInput, match="raymaas compress"):
        client.triggers.set("nightly", {"kind": "compress", "model": "digits"})
    assert client.triggers.list() == ()


def test_versions_that_are_not_there_are_refused(world: World, client: Any) -> None:
    world.publish()
    for absent in ({"init_from": "digits@prod"}, {"start": {"on_drift": "digits@prod"}}):
        with pytest.raises(NotFound, match="alias 'prod' of 'digits' does not exist"):
            client.triggers.set("nightly", NIGHTLY | absent)
    made = client.triggers.set("nightly", NIGHTLY | {"init_from": "digits"})
    assert made.job.init_from == "digits", "it is looked up anew for each run"


def test_code_of_ones_own_travels_with_it(world: World, client: Any, tmp_path: Path) -> None:
    (tmp_path / "net.py").write_text("from torch import nn\n\n\nclass Net(nn.Module):\n    pass\n")
    job = NIGHTLY | {"architecture": {"use": "net:Net"}}
    made = client.triggers.set("nightly", job, folder=tmp_path)
    assert isinstance(made.job, TrainJob)
    assert made.job.code is not None
    assert world.store.exists(f"code/{made.job.code}.zip")


def test_it_can_all_be_typed(world: World, raymaas: Type, tmp_path: Path) -> None:
    file = tmp_path / "train.yaml"
    file.write_bytes(orjson.dumps(JOB | {"kind": "train"}))
    world.publish()
    world.deploy(1)
    world.states.move("digits", partial(moves.promote, version=1), who="ana")
    drift = "start={on_drift: digits@prod, min_feedback: 500}"
    status, out, _ = raymaas("triggers", "add", str(file), "--set", drift, "--name", "nightly")
    assert status == 0
    assert out.startswith(
        "nightly trains digits when digits@prod drifts over 24 h, at most every 24 h, once 500 more rows are labelled"
    )
    assert "nightly" in raymaas("triggers", "list")[1]
    assert "it has started nothing yet" in raymaas("triggers", "show", "nightly")[2]
    started(world, "nightly", "train-digits-1")
    assert "train-digits-1  -      not there yet  every 24 h" in raymaas("triggers", "show", "nightly")[1]
    job = TrainJob.parse(JOB, source="job")
    world.outcome = "fails"
    world.submit(
        world.runs.create(RunSpec(run_id="train-digits-1", job=job, who="ana", created_at=datetime.now(UTC)))
    )
    assert "train-digits-1  failed  no rows  every 24 h" in raymaas("triggers", "show", "nightly")[1]
    assert "nightly trains digits paused" in raymaas("triggers", "pause", "nightly")[1]
    assert "drifts" in raymaas("triggers", "resume", "nightly")[1]
    assert raymaas("triggers", "remove", "nightly")[:2] == (0, "trigger nightly is removed\n")
    assert "there is no trigger" in raymaas("triggers", "list")[2]
    status, _, remarks = raymaas("triggers", "add", str(file))
    assert status == 1
    assert "start: {every_h: 24}" in remarks
