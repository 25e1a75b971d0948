"""ClientContract: predictions and runs, the same promises kept by Client and AsyncClient, against real HTTP servers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from control_server import JOB, World, utc_now

from raymaas.client.flow import LogText
from raymaas.errors import (
    InvalidInput,
    NotFound,
    OutcomeUnknown,
    Refused,
    RunFailed,
)
from raymaas.registry.checkpoints import CheckpointFiles, Checkpoints
from raymaas.specs.budget import Spent
from raymaas.specs.kinds import parse_job
from raymaas.specs.runs import EpochMetrics, Resumes, RunProgress, Stopped, Succeeded

ROWS = [[1.0, 2.0], [-3.0, 0.5]]


def test_arrays_are_answered_with_arrays(world: World, client: Any) -> None:
    world.publish()
    world.deploy(1)
    prediction = client.model("digits").predict(np.array(ROWS, dtype=np.float32))
    np.testing.assert_allclose(prediction.outputs["logits"], [[3.0, -3.0], [-2.5, 2.5]])
    assert prediction.outputs["logits"].dtype == np.float32
    assert prediction.labels == ["plus", "minus"]
    assert (prediction.model_name, prediction.model_version) == ("digits", 1)


def test_lists_are_answered_with_lists(world: World, client: Any) -> None:
    world.publish()
    world.deploy(1)
    prediction = client.model("digits").predict(ROWS)
    assert prediction.outputs["logits"] == [[3.0, -3.0], [-2.5, 2.5]]


def test_inputs_may_be_named(world: World, client: Any) -> None:
    world.publish()
    world.deploy(1)
    by_name = client.model("digits").predict({"x": np.array(ROWS)})
    np.testing.assert_allclose(by_name.outputs["logits"], [[3.0, -3.0], [-2.5, 2.5]])


def test_arrays_that_are_not_contiguous_or_not_float32_keep_their_values(world: World, client: Any) -> None:
    world.publish()
    world.deploy(1)
    columns = np.array([[1, -3], [2, 4]], dtype=np.int64).T
    prediction = client.model("digits").predict(columns)
    np.testing.assert_allclose(prediction.outputs["logits"], [[3.0, -3.0], [1.0, -1.0]])


def test_a_reference_chooses_the_version_that_answers(world: World, client: Any) -> None:
    for _ in range(3):
        world.publish()
    for version in (1, 2, 3):
        world.deploy(version)
    client.alias_set("digits@prod", 2)
    answers = {
        "digits": client.model("digits").predict(ROWS),
        "digits@3": client.model("digits@3").predict(ROWS),
        "digits@prod": client.model("digits@prod").predict(ROWS),
        "ref": client.model("digits@prod").predict(ROWS, ref=3),
    }
    assert {k: p.model_version for k, p in answers.items()} == {
        "digits": 1,
        "digits@3": 3,
        "digits@prod": 2,
        "ref": 3,
    }


def test_the_prediction_carries_the_request_id_that_was_sent(world: World, client: Any) -> None:
    world.publish()
    world.deploy(1)
    first, second = (client.model("digits").predict(ROWS) for _ in range(2))
    assert world.seen_request_ids == [first.request_id, second.request_id]
    assert first.request_id != second.request_id


def test_rows_that_do_not_fit_are_invalid_input_in_the_servers_words(world: World, client: Any) -> None:
    world.publish()
    world.deploy(1)
    with pytest.raises(InvalidInput, match=r"input 'x' must be FP32 .*, got float32 \[1, 3\]"):
        client.model("digits").predict([[1.0, 2.0, 3.0]])


@pytest.mark.parametrize("rows", [np.array([[1j, 2.0]]), {"x": np.array([[1j]])}, [[object()]]])
def test_rows_that_cannot_be_said_are_refused_before_sending(rows: Any, world: World, client: Any) -> None:
    world.publish()
    world.deploy(1)
    with pytest.raises(InvalidInput):
        client.model("digits").predict(rows)
    assert world.seen_request_ids == []


def test_only_the_server_knows_where_a_value_may_be_missing(world: World, client: Any) -> None:
    world.publish()
    world.deploy(1)
    with pytest.raises(InvalidInput, match="input 'x': a number is NaN"):
        client.model("digits").predict(np.array([[np.nan, 1.0]]))


def test_predicting_what_nobody_serves_says_what_is_deployed(world: World, client: Any) -> None:
    world.publish()
    world.publish()
    world.deploy(1)
    with pytest.raises(NotFound, match="digits@2 is not deployed; deployed: digits@1"):
        client.model("digits@2").predict(ROWS)
    with pytest.raises(NotFound, match="did you mean 'digits'"):
        client.model("digit").predict(ROWS)


def test_training_waits_for_the_version(client: Any) -> None:
    events: list[Any] = []
    ended = client.train(JOB).wait(timeout_s=20, on_event=events.append)
    assert isinstance(ended, Succeeded)
    assert ended.version == 1
    assert [e.epoch for e in events if isinstance(e, EpochMetrics)] == [1, 2]
    assert "".join(e.text for e in events if isinstance(e, LogText)) == "loading rows\npublished digits@1\n"
    assert events[0].state == "succeeded"


def test_a_job_may_be_a_document_or_a_file(tmp_path: Path, client: Any) -> None:
    path = tmp_path / "job.yaml"
    path.write_text("model: digits\ndata: {use: digits}\narchitecture: {use: mlp}\n")
    from_file, from_document = client.train(path), client.train(parse_job(JOB, source="job"))
    assert [client.runs.get(handle.run_id).model for handle in (from_file, from_document)] == ["digits"] * 2
    assert {r.run_id for r in client.runs.list()} == {from_file.run_id, from_document.run_id}


def test_a_failed_run_raises_run_failed_with_its_id(world: World, client: Any) -> None:
    world.outcome = "fails"
    run = client.train(JOB)
    with pytest.raises(RunFailed, match="no rows") as raised:
        run.wait(timeout_s=20)
    assert raised.value.run == run.run_id


def test_a_stopped_run_raises_run_failed_with_who_stopped_it(world: World, client: Any) -> None:
    world.outcome = "never ends"
    run = client.train(JOB)
    assert run.stop().status.state == "stopped"
    with pytest.raises(RunFailed, match="was stopped by"):
        run.wait(timeout_s=20)


def test_a_failed_run_is_resumed_by_a_run_of_its_own(world: World, client: Any) -> None:
    world.outcome = "fails"
    run = client.train(JOB)
    world.outcome = "succeeds"
    again = run.resume()
    assert again.wait(timeout_s=20).version == 1
    assert again.status().resumes == Resumes(run=run.run_id)
    assert run.status().status.state == "failed"
    with pytest.raises(Refused, match="resumed before"):
        run.resume()


def test_a_run_is_branched_off_from_an_epoch_with_other_settings(world: World, client: Any) -> None:
    run = client.train(JOB)
    Checkpoints(world.store, run.run_id).add(1, CheckpointFiles(state=b"s", progress=b"p"))
    branch = client.run(run.run_id).resume(from_epoch=1, settings=["training.epochs=3"])
    assert branch.status().resumes == Resumes(run=run.run_id, epoch=1)
    assert len(branch.metrics()) == 3
    with pytest.raises(InvalidInput, match="add from_epoch"):
        run.resume(settings=["training.epochs=3"])


def test_waiting_ends_with_outcome_unknown_and_the_run_goes_on(world: World, client: Any) -> None:
    world.outcome = "never ends"
    run = client.train(JOB)
    with pytest.raises(OutcomeUnknown, match="it goes on"):
        run.wait(timeout_s=0.01)
    assert run.status().status.state == "running"


def test_logs_come_without_gaps_or_repeats(client: Any) -> None:
    run = client.train(JOB)
    assert "".join(run.logs()) == "loading rows\npublished digits@1\n"
    assert "".join(run.logs(follow=True)) == "loading rows\npublished digits@1\n"


def test_logs_without_follow_end_while_the_run_goes_on(world: World, client: Any) -> None:
    world.outcome = "never ends"
    assert "".join(client.train(JOB).logs()) == "loading rows\n"


def test_events_end_with_the_run(client: Any) -> None:
    kinds = [type(event).__name__ for event in client.train(JOB).events()]
    assert kinds == ["Succeeded", "LogText", "EpochMetrics", "EpochMetrics"]


def test_metrics_are_those_of_the_epochs(client: Any) -> None:
    assert [(e.epoch, e.metrics["loss"]) for e in client.train(JOB).metrics()] == [(1, 1.0), (2, 0.5)]


def test_what_a_run_was_asked_and_left_is_read(world: World, client: Any) -> None:
    run = client.train(JOB)
    assert run.progress() is None
    world.runs.progresses.replace(RunProgress(run_id=run.run_id, at=utc_now(), epoch=2, epochs=2))
    world.runs.artifacts(run.run_id).keep("report/report.md", b"# digits@1\n")
    assert run.spec().job == parse_job(JOB, source="job")
    assert run.progress().epoch == 2
    assert run.progress() in list(run.events())
    assert [file.name for file in run.files()] == ["report/report.md"]
    assert run.file("report/report.md") == b"# digits@1\n"
    with pytest.raises(NotFound, match=r"no file 'report/other\.png'"):
        run.file("report/other.png")
    with pytest.raises(InvalidInput, match="no file of a run"):
        run.file("spec.json")


def test_runs_are_compared_by_what_differs(world: World, client: Any) -> None:
    one = client.train(JOB)
    other = client.train(JOB | {"training": {"epochs": 3}})
    world.runs.progresses.replace(
        RunProgress(run_id=other.run_id, at=utc_now(), spent=Spent(seconds=60, cpu_seconds=90))
    )
    first, second = client.runs.compare(one.run_id, other.run_id).runs
    assert (first.run_id, second.run_id) == (one.run_id, other.run_id)
    assert (first.settings, second.settings) == ({"training.epochs": 2}, {"training.epochs": 3})
    assert (first.version, second.version) == ("digits@1", "digits@2")
    assert (first.epochs, second.epochs) == (2, 3)
    assert second.test == {"accuracy": 0.97}
    assert (first.spent, second.spent) == (None, Spent(seconds=60, cpu_seconds=90))
    with pytest.raises(InvalidInput, match="takes two runs at least"):
        client.runs.compare(one.run_id)
    with pytest.raises(NotFound, match="run-z"):
        client.runs.compare(one.run_id, "run-z")


def test_a_run_that_its_budget_stopped_says_so_and_goes_on_with_a_larger_one(
    world: World, client: Any
) -> None:
    world.outcome = "never ends"
    run = client.train(JOB | {"budget": {"hours": 1}})
    world.runs.progresses.replace(RunProgress(run_id=run.run_id, at=utc_now(), spent=Spent(seconds=3700)))
    world.runs.set_status(
        run.run_id, Stopped(at=utc_now(), who="its budget", why="the run used 1.03 of its budget of 1 hours")
    )
    with pytest.raises(
        RunFailed, match=r"was stopped by its budget: the run used 1\.03 of its budget of 1 hours"
    ):
        run.wait()
    with pytest.raises(Refused, match=r"--set budget\.hours=MORE"):
        run.resume()
    again = run.resume(settings=["budget.hours=2"])
    assert again.spec().job.budget.hours == 2


def test_status_is_the_clusters_own_description(client: Any) -> None:
    assert client.status().cluster == {"mode": "tests", "ready": True}
