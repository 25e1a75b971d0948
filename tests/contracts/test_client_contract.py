"""ClientContract: the same promises kept by Client and AsyncClient, against real HTTP servers."""

from __future__ import annotations

import asyncio
import inspect
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from control_server import JOB, Switch, World, http_answer, scripted, serving, utc_now

from raymaas.client import AsyncClient, Client
from raymaas.client.flow import LogText
from raymaas.errors import (
    AlreadyExists,
    Denied,
    IntegrityError,
    InvalidInput,
    NotFound,
    OutcomeUnknown,
    QuotaExceeded,
    RaymaasError,
    Refused,
    RunFailed,
    Unavailable,
)
from raymaas.registry.checkpoints import CheckpointFiles, Checkpoints
from raymaas.specs.budget import Spent
from raymaas.specs.kinds import parse_job
from raymaas.specs.runs import EpochMetrics, Resumes, RunProgress, Stopped, Succeeded
from raymaas.specs.serving import Scaling, Shadow

ROWS = [[1.0, 2.0], [-3.0, 0.5]]
Connect = Callable[..., Any]


class Awaited:
    """An async object used like its blocking twin: coroutines are run, async iterators are walked."""

    def __init__(self, target: Any, loop: asyncio.AbstractEventLoop) -> None:
        self._target = target
        self._loop = loop

    def __getattr__(self, name: str) -> Any:
        return self._settled(getattr(self._target, name))

    def _settled(self, value: Any) -> Any:
        if inspect.isawaitable(value):
            return self._settled(self._loop.run_until_complete(value))
        if hasattr(value, "__aiter__"):
            return self._walk(value)
        if inspect.ismethod(value):
            return lambda *args, **kwargs: self._settled(value(*args, **kwargs))
        if type(value).__name__.startswith("Async"):
            return Awaited(value, self._loop)
        return value

    def _walk(self, iterator: Any) -> Iterator[Any]:
        while True:
            try:
                yield self._loop.run_until_complete(anext(iterator))
            except StopAsyncIteration:
                return


@pytest.fixture(params=["sync", "async"])
def connect(request: pytest.FixtureRequest) -> Iterator[Connect]:
    """Makes clients of one kind, all closed at the end."""
    clients: list[Any] = []
    with asyncio.Runner() as runner:

        def make(url: str, **options: Any) -> Any:
            client = (
                Client(url, **options)
                if request.param == "sync"
                else Awaited(AsyncClient(url, **options), runner.get_loop())
            )
            clients.append(client)
            return client

        yield make
        for client in clients:
            client.close()


@pytest.fixture
def world() -> World:
    return World()


@pytest.fixture
def client(world: World, connect: Connect, server: tuple[str, Switch]) -> Any:
    url, switch = server
    switch.app = world.app()
    return connect(url)


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


def test_deploy_waits_until_the_version_answers(world: World, client: Any) -> None:
    world.publish()
    world.starting[1] = 2
    state = client.deploy("digits@1", scaling=Scaling(min_replicas=2, max_replicas=3), why="first")
    assert (state.scaling[1].max_replicas, state.change.why) == (3, "first")
    assert world.starting[1] == 0
    assert client.deployments("digits")[0].status == "ready"


def test_deploy_without_waiting_returns_while_it_starts(world: World, client: Any) -> None:
    world.publish()
    world.starting[1] = 5
    client.deploy("digits@1", wait=False)
    assert world.starting[1] == 5


def test_deploy_by_alias_waits_for_the_version_it_meant(world: World, client: Any) -> None:
    world.publish()
    client.alias_set("digits@prod", 1)
    assert list(client.deploy("digits@prod").scaling) == [1]


def test_deploy_of_a_version_that_cannot_run_says_why(world: World, client: Any) -> None:
    world.publish()
    world.failed[1] = "weights do not fit the memory"
    with pytest.raises(Unavailable, match="digits@1 was deployed but cannot run: weights do not fit"):
        client.deploy("digits@1")


def test_deploy_that_takes_too_long_is_outcome_unknown(world: World, client: Any) -> None:
    world.publish()
    world.starting[1] = 1000
    with pytest.raises(OutcomeUnknown, match=r"placing replicas.*it goes on"):
        client.deploy("digits@1", timeout_s=0.01)


def test_deploy_needs_a_version(client: Any) -> None:
    with pytest.raises(InvalidInput, match="digits@1"):
        client.deploy("digits")


def test_moves_are_read_back_with_who_and_why(world: World, client: Any) -> None:
    for _ in range(2):
        world.publish()
    client.deploy("digits@1")
    client.deploy("digits@2")
    client.alias_set("digits@prod", 1, why="first")
    state = client.traffic("digits", {1: 90, 2: 10}, why="try two")
    assert client.models.state("digits") == state
    assert state.traffic == {1: 90, 2: 10}
    newest, before, *_ = client.models.history("digits")
    assert (newest.action, newest.why, before.action, before.why) == ("traffic", "try two", "alias", "first")
    assert newest.who not in ("", "anonymous")
    summary = client.models.get("digits")
    assert (summary.newest, summary.aliases, summary.traffic) == (2, {"prod": 1}, {1: 90, 2: 10})
    with pytest.raises(Refused, match="traffic"):
        client.undeploy("digits@2")
    client.traffic("digits", {1: 100})
    undeployed = client.undeploy("digits@2", why="too slow")
    assert (list(undeployed.scaling), undeployed.change.why) == ([1], "too slow")
    assert client.delete("digits@2", why="for good").change.why == "for good"
    with pytest.raises(NotFound, match="version 2 of 'digits' was deleted"):
        client.models.version("digits@2")
    with pytest.raises(Refused, match="deployed"):
        client.delete("digits@1")


def test_what_callers_are_known_by_is_told_kept_and_ended(world: World, client: Any) -> None:
    for version in (1, 2):
        world.publish()
        client.deploy(f"digits@{version}")
    state = client.traffic("digits", {1: 90, 2: 10}, sticky="header:X-User")
    assert (state.sticky, state.traffic) == ("header:x-user", {1: 90, 2: 10})
    assert client.models.get("digits").sticky == "header:x-user"
    assert client.traffic("digits", {1: 80, 2: 20}).sticky == "header:x-user"
    ended = client.traffic("digits", sticky="off", why="no longer")
    assert (ended.sticky, ended.traffic, ended.change.why) == (None, {1: 80, 2: 20}, "no longer")
    for wrong in ("x-user", "header:", "header:x_user", "header:x-raymaas-key", "cookie:a"):
        with pytest.raises(InvalidInput, match="header:x-user"):
            client.traffic("digits", sticky=wrong)
    with pytest.raises(InvalidInput, match="nothing is to change"):
        client.traffic("digits")


def test_a_version_is_asked_to_shadow_and_no_longer(world: World, client: Any) -> None:
    for version in (1, 2):
        world.publish()
        client.deploy(f"digits@{version}")
    client.alias_set("digits@next", 2)
    shadow = Shadow(version=2, sample=0.2)
    assert client.traffic("digits", shadow="digits@next", sample=0.2).shadow == shadow
    assert client.models.get("digits").shadow == shadow
    assert client.traffic("digits", {1: 90, 2: 10}).shadow == shadow
    assert client.traffic("digits", shadow="off").shadow is None
    assert client.traffic("digits", shadow="digits@2").shadow == Shadow(version=2, sample=0.1)
    for wrong in ("digits", "churn@2"):
        with pytest.raises(InvalidInput, match="write it as digits@3"):
            client.traffic("digits", shadow=wrong)
    with pytest.raises(InvalidInput, match="sample"):
        client.traffic("digits", shadow="digits@2", sample=2)
    with pytest.raises(InvalidInput, match="say to which version"):
        client.traffic("digits", sample=0.5)
    world.publish()
    with pytest.raises(Refused, match="first `raymaas deploy digits@3`"):
        client.traffic("digits", shadow="digits@3")


def test_promote_and_rollback_move_what_answers_and_repeat_further_back(world: World, client: Any) -> None:
    for version in (1, 2):
        world.publish()
        client.deploy(f"digits@{version}")
    client.promote("digits@1")
    client.alias_set("digits@canary", 2)
    promoted = client.promote("digits@canary", why="canary was better")
    assert (promoted.aliases["prod"], promoted.traffic) == (2, {1: 0, 2: 100})
    assert client.model("digits").predict(ROWS).model_version == 2
    first = client.rollback("digits", why="slow")
    assert (first.aliases, first.traffic) == ({"prod": 1, "canary": 2}, {1: 100, 2: 0})
    assert client.model("digits").predict(ROWS).model_version == 1
    assert client.rollback("digits").aliases == {"prod": 1}
    forward = client.rollback("digits", to=promoted.revision)
    assert (forward.aliases, forward.traffic) == (promoted.aliases, promoted.traffic)
    back, *_ = client.models.history("digits", limit=1, before=first.revision + 1)
    assert (back.revision, back.action, back.why, back.undoes) == (
        first.revision,
        "rollback",
        "slow",
        promoted.revision,
    )
    assert "prod: 2 -> 1" in back.summary


def test_promote_needs_a_version_that_is_deployed(world: World, client: Any) -> None:
    world.publish()
    with pytest.raises(InvalidInput, match="digits@1"):
        client.promote("digits")
    with pytest.raises(Refused, match="`raymaas deploy digits@1`"):
        client.promote("digits@1")
    with pytest.raises(InvalidInput, match="rollback: to"):
        client.rollback("digits", to=0)
    with pytest.raises(Refused, match="nothing to roll back"):
        client.rollback("digits")


def test_versions_are_listed_in_pages_newest_first(world: World, client: Any) -> None:
    for _ in range(5):
        world.publish()
    first = client.models.versions("digits", limit=3)
    second = client.models.versions("digits", limit=3, before=first.next_before)
    assert [v.version for v in (*first.versions, *second.versions)] == [5, 4, 3, 2, 1]
    assert second.next_before is None
    assert client.models.version("digits@2") == world.versions.get("digits", 2)
    assert [m.model for m in client.models.list()] == ["digits"]


def test_status_is_the_clusters_own_description(client: Any) -> None:
    assert client.status().cluster == {"mode": "tests", "ready": True}


@pytest.mark.parametrize(
    "error",
    [
        InvalidInput("change it"),
        NotFound("not there"),
        AlreadyExists("another was first"),
        Denied("another key"),
        QuotaExceeded("too fast", retry_after_s=7.5),
        Unavailable("not now"),
        OutcomeUnknown("who knows"),
        IntegrityError("bad bytes"),
        Refused("a policy"),
        RunFailed("it failed", run="train-digits-1"),
    ],
    ids=lambda error: error.code,
)
def test_each_error_arrives_as_the_class_the_server_raised(
    error: RaymaasError, world: World, client: Any
) -> None:
    world.refusal = error
    with pytest.raises(type(error)) as raised:
        client.train(JOB)
    assert type(raised.value) is type(error)
    assert (str(raised.value), raised.value.details()) == (str(error), error.details())


def test_an_unforeseen_error_arrives_without_its_insides(world: World, client: Any) -> None:
    world.describe = lambda: 1 / 0  # type: ignore[method-assign,return-value]
    with pytest.raises(RaymaasError, match="failed on this request") as raised:
        client.status()
    assert type(raised.value) is RaymaasError
    assert "division" not in str(raised.value)


def test_nothing_listening_is_unavailable_and_says_how_to_start(connect: Connect) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with pytest.raises(Unavailable, match="raymaas up"):
        connect(f"http://127.0.0.1:{port}").models.list()


def test_reads_and_predictions_are_sent_again_when_the_connection_breaks(connect: Connect) -> None:
    models = http_answer("200 OK", b'{"models": []}', "application/json")
    with scripted(b"", b"", models) as (url, count):
        assert connect(url).models.list() == ()
        assert count() == 3
    answer = http_answer(
        "200 OK", b'{"model_name": "m", "model_version": "4", "outputs": {"y": [1]}}', "application/json"
    )
    with scripted(b"", answer) as (url, _):
        assert connect(url).model("m").predict([[1]]).model_version == 4


def test_retrying_is_bounded(connect: Connect) -> None:
    with scripted(*[b""] * 9) as (url, count):
        with pytest.raises(Unavailable, match="broke off"):
            connect(url).models.list()
        assert count() == 4


def test_a_write_is_sent_once_and_its_loss_is_outcome_unknown(connect: Connect) -> None:
    with scripted(b"", b"") as (url, count):
        with pytest.raises(OutcomeUnknown, match="look before you repeat"):
            connect(url).traffic("digits", {1: 100})
        assert count() == 1


@pytest.mark.parametrize("status", ["502 Bad Gateway", "503 Service Unavailable", "504 Gateway Timeout"])
def test_a_gateways_own_page_is_unavailable_for_a_read(status: str, connect: Connect) -> None:
    with (
        scripted(http_answer(status, b"<html><body>sorry</body></html>")) as (url, _),
        pytest.raises(Unavailable, match=status[:3]),
    ):
        connect(url).models.list()


def test_a_gateways_json_is_read_by_its_sentence_and_status(connect: Connect) -> None:
    page = http_answer(
        "503 Service Unavailable", b'{"error": "no replica can be reached"}', "application/json"
    )
    with scripted(page) as (url, _), pytest.raises(Unavailable, match=r"^no replica can be reached$"):
        connect(url).model("digits").predict(ROWS)


def test_a_write_behind_a_gateway_that_gave_up_is_outcome_unknown(connect: Connect) -> None:
    with scripted(http_answer("504 Gateway Timeout", b"late")) as (url, _), pytest.raises(OutcomeUnknown):
        connect(url).traffic("digits", {1: 100})
    with scripted(http_answer("503 Service Unavailable", b"away")) as (url, _), pytest.raises(Unavailable):
        connect(url).traffic("digits", {1: 100})


def test_something_that_is_not_raymaas_is_named_as_such(connect: Connect) -> None:
    with (
        scripted(http_answer("200 OK", b"<html>a router's login</html>")) as (url, _),
        pytest.raises(RaymaasError, match="URL"),
    ):
        connect(url).models.list()
    other = http_answer("200 OK", b'{"models": [{"id": 1}]}', "application/json")
    with scripted(other) as (url, _), pytest.raises(RaymaasError, match="same version"):
        connect(url).models.list()


def test_a_server_that_does_not_answer_in_time_is_given_up(connect: Connect) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        client = connect(f"http://127.0.0.1:{listener.getsockname()[1]}", timeout_s=0.05)
        with pytest.raises(OutcomeUnknown):
            client.traffic("digits", {1: 100})


def test_a_closed_client_frees_its_connections(world: World) -> None:
    with serving(world.app()) as url:
        with Client(url) as client:
            client.models.list()
        with pytest.raises(RuntimeError, match="closed"):
            client.models.list()

        async def once() -> None:
            async with AsyncClient(url) as client:
                assert await client.models.list() == ()
                assert isinstance(await client.status(), object)

        asyncio.run(once())
        assert httpx.get(f"{url}/v2/health/live", trust_env=False).json() == {"live": True}
