"""Sampling rules, feedback, and versions compared by it: over HTTP, from Python, and typed."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import orjson
import pytest
from control_server import Type, World
from registry_examples import draft

from raymaas.client.connection import new_request_id
from raymaas.errors import Denied, InvalidInput, NotFound
from raymaas.registry.feedback import FeedbackLog
from raymaas.serve.plan import Target
from raymaas.serve.request_log import RequestLog
from raymaas.serve.sample_log import SampleLog
from raymaas.specs.keys import Grant
from raymaas.specs.versions import Signature, TensorSpec

LONG_AGO = datetime(2020, 1, 1, tzinfo=UTC)
PLUS, MINUS = [0.9, 0.1], [0.2, 0.8]


@pytest.fixture
def ruled(world: World, client: Any) -> World:
    """Two versions, of whose requests all are kept."""
    world.publish()
    world.publish()
    client.sampling.set("digits", {"rate": 1})
    return world


def answered(world: World, version: int, probabilities: Sequence[Sequence[float]]) -> list[str]:
    """As a replica of that version keeps them; the ids of the requests."""
    log = SampleLog(world.store, Target("digits", version), replica=f"r{version}")
    log.write()
    ids = [new_request_id() for _ in probabilities]
    for request_id, chances in zip(ids, probabilities, strict=True):
        if log.wants(request_id):
            given = np.array([chances], np.float32)
            log.hear(
                request_id, {"x": np.zeros((1, 2), np.float32)}, {"logits": given, "probabilities": given}
            )
    log.write()
    return ids


def said(world: World) -> list[dict[str, Any]]:
    rows = FeedbackLog(world.store).table("digits", since=LONG_AGO).to_pylist()
    return [{name: row[name] for name in ("request_id", "row", "label", "reward")} for row in rows]


# --- rules ---


def test_a_rule_is_set_shown_and_removed(world: World, client: Any) -> None:
    world.publish()
    with pytest.raises(NotFound, match="raymaas sampling set digits"):
        client.sampling.get("digits")
    rule = {"rate": 0.1, "keep_days": 7, "masks": {"in.x": "round:2", "label": "hash"}}
    assert client.sampling.set("digits", rule, why="the test begins").revision == 1
    found = client.sampling.get("digits")
    assert (found.rule.rate, found.rule.masks, found.why) == (0.1, rule["masks"], "the test begins")
    assert client.sampling.remove("digits").rule is None
    with pytest.raises(NotFound):
        client.sampling.get("digits")


def test_a_mask_of_a_field_that_does_not_exist_is_refused(world: World, client: Any) -> None:
    world.publish()
    with pytest.raises(InvalidInput, match=r"in\.email is no field of this model; it has in\.x, out\.logits"):
        client.sampling.set("digits", {"rate": 1, "masks": {"in.email": "drop"}})
    with pytest.raises(NotFound):
        client.sampling.set("churn", {"rate": 1})
    with pytest.raises(NotFound):
        client.sampling.get("digits")


# --- feedback ---


def test_feedback_is_in_the_store_when_it_is_acknowledged(ruled: World, client: Any) -> None:
    request_id = new_request_id()
    kept = client.feedback.give(request_id, label=7, model="digits")
    assert (kept.model, kept.received, kept.kept) == ("digits", 1, 1)
    assert said(ruled) == [{"request_id": request_id, "row": 0, "label": "7", "reward": None}]
    client.feedback.give(request_id, reward=0.5, model="digits")
    client.feedback.give(request_id, label="8", model="digits")
    assert said(ruled) == [{"request_id": request_id, "row": 0, "label": "8", "reward": 0.5}]


def test_feedback_on_a_prediction_needs_nothing_else(ruled: World, client: Any) -> None:
    ruled.deploy(1)
    client.promote("digits@1")
    prediction = client.model("digits").predict([[1.0, 2.0]])
    client.feedback.give(prediction, label="plus")
    assert said(ruled)[0]["request_id"] == prediction.request_id


def test_without_a_model_it_is_looked_up_by_the_id(ruled: World, client: Any) -> None:
    recorded, unknown = new_request_id(), new_request_id()
    log = RequestLog(ruled.store, Target("digits", 2), replica="r2")
    log(status=200, seconds=0.001, request_id=recorded, rows=1)
    log.write()
    assert client.feedback.give(recorded, reward=1).model == "digits"
    with pytest.raises(NotFound, match="recorded some seconds after its answer"):
        client.feedback.give(unknown, reward=1)
    with pytest.raises(InvalidInput, match="say which model"):
        client.feedback.give("my-own-id", reward=1)
    assert [row["request_id"] for row in said(ruled)] == [recorded]


def test_many_are_given_at_once(ruled: World, client: Any) -> None:
    items = [{"request_id": f"r-{n}", "row": n % 3, "label": n} for n in range(100)]
    assert client.feedback.give_many("digits", items).kept == 100
    assert len(said(ruled)) == 100
    assert len(ruled.store.list("feedback/")) == 1


def test_feedback_that_says_nothing_or_has_nowhere_to_go_is_refused(ruled: World, client: Any) -> None:
    with pytest.raises(InvalidInput, match="say label, reward, or both"):
        client.feedback.give(new_request_id(), model="digits")
    with pytest.raises(InvalidInput, match="less than or equal to"):
        client.feedback.give(new_request_id(), reward=1, row=2**31, model="digits")
    with pytest.raises(NotFound, match="raymaas sampling set churn"):
        client.feedback.give(new_request_id(), reward=1, model="churn")
    assert said(ruled) == []


def test_what_the_rule_leaves_out_is_acknowledged_and_not_kept(ruled: World, client: Any) -> None:
    client.sampling.set("digits", {"rate": 0.5, "masks": {"label": "drop"}})
    items = [{"request_id": f"r-{n}", "label": "plus", "reward": 1.0} for n in range(200)]
    kept = client.feedback.give_many("digits", items)
    assert kept.received == 200
    assert 60 < kept.kept < 140
    assert {(row["label"], row["reward"]) for row in said(ruled)} == {(None, 1.0)}


def test_a_key_that_may_ask_a_model_may_say_how_good_it_was(
    ruled: World, connect: Any, server: tuple[str, Any]
) -> None:
    ruled.keys.create(Grant(name="ops", scopes=("admin",)), who="me")
    shop = ruled.keys.create(Grant(name="shop", scopes=("predict",), models=("dig*",)), who="me")
    client = connect(server[0], api_key=shop.text)
    assert client.feedback.give(new_request_id(), reward=1, model="digits").kept == 1
    assert client.feedback.give_many("digits", [{"request_id": "r-1", "reward": 0}]).kept == 1
    for act in (
        lambda: client.feedback.give(new_request_id(), reward=1, model="churn"),
        lambda: client.feedback.give_many("churn", [{"request_id": "r-1", "reward": 0}]),
        lambda: client.feedback.compare("digits@1", "digits@2"),
        lambda: client.sampling.remove("digits"),
    ):
        with pytest.raises(Denied):
            act()


def test_a_body_that_is_wrong_says_what(ruled: World, server: tuple[str, Any]) -> None:
    with httpx.Client(base_url=server[0]) as http:
        answer = http.post("/api/v1/feedback", json={"request_id": "two words", "lable": "7"})
    assert answer.status_code == 400
    assert "did you mean 'label'?" in answer.json()["detail"]


# --- comparing ---


def test_the_version_that_is_right_more_often_is_better(ruled: World, client: Any) -> None:
    labels = []
    for version, right in ((1, 300), (2, 380)):
        ids = answered(ruled, version, [PLUS] * right + [MINUS] * (400 - right))
        labels += [{"request_id": request_id, "label": "plus"} for request_id in ids]
    client.feedback.give_many("digits", labels)
    found = client.feedback.compare("digits@1", "digits@2")
    assert (found.first.sampled, found.first.judged, found.second.judged) == (400, 400, 400)
    assert found.first.metric.value == 0.75
    assert found.second.metric.value == 0.95
    assert found.difference.value == pytest.approx(0.2)
    assert found.p_value < 1e-10
    assert found.verdict == "better"
    assert found.statement.startswith("digits@2 is better than digits@1: accuracy +20 points (")
    back = client.feedback.compare("digits@2", "digits@1")
    assert back.verdict == "worse"
    less = client.feedback.compare("digits@1", "digits@2", metric="log_loss")
    assert less.verdict == "better"
    assert less.difference.value < 0


def test_rewards_are_compared_whatever_was_answered(ruled: World, client: Any) -> None:
    draw = np.random.default_rng(0)
    for version, middle in ((1, 1.0), (2, 1.0)):
        ids = answered(ruled, version, [PLUS] * 200)
        rewards = draw.normal(middle, 1, 200).tolist()
        items = [{"request_id": i, "reward": reward} for i, reward in zip(ids, rewards, strict=True)]
        client.feedback.give_many("digits", items)
    found = client.feedback.compare("digits@1", "digits@2", metric="reward")
    assert found.verdict == "undecided"
    assert "cannot be told apart: reward" in found.statement
    assert "judged rows of each" in found.statement


def test_too_little_feedback_is_not_judged(ruled: World, client: Any) -> None:
    for version in (1, 2):
        ids = answered(ruled, version, [PLUS] * 10)
        client.feedback.give_many("digits", [{"request_id": i, "label": "plus"} for i in ids[:5]])
    found = client.feedback.compare("digits@1", "digits@2")
    assert (found.verdict, found.first.sampled, found.first.judged) == ("unknown", 10, 5)
    assert "5 of digits@1 and 5 of digits@2 judged, 30 of each are needed" in found.statement
    none = client.feedback.compare("digits@1", "digits@2", since=datetime.now(UTC) + timedelta(hours=1))
    assert (none.first.sampled, none.first.metric, none.difference) == (0, None, None)


def test_a_label_that_is_no_class_of_the_version_is_a_wrong_answer(ruled: World, client: Any) -> None:
    ids = answered(ruled, 1, [PLUS, PLUS])
    client.feedback.give_many(
        "digits", [{"request_id": ids[0], "label": "new"}, {"request_id": ids[1], "label": "plus"}]
    )
    found = client.feedback.compare("digits@1", "digits@2").first
    assert (found.judged, found.metric.value) == (2, 0.5)


def test_what_cannot_be_compared_says_why(ruled: World, client: Any) -> None:
    ids = answered(ruled, 1, [PLUS])
    client.feedback.give_many("digits", [{"request_id": ids[0], "label": "plus"}])
    for first, second, metric, why in (
        ("digits@1", "digits@1", "accuracy", "both version 1"),
        ("digits@1", "churn@1", "accuracy", "versions of one model"),
        ("digits@1", "digits@2", "mae", "say accuracy, log_loss or reward"),
    ):
        with pytest.raises(InvalidInput, match=why):
            client.feedback.compare(first, second, metric=metric)
    client.sampling.set("digits", {"rate": 1, "masks": {"out.probabilities": "hash", "out.logits": "drop"}})
    answered(ruled, 2, [PLUS])
    client.sampling.set("digits", {"rate": 1, "masks": {"label": "hash"}})
    with pytest.raises(InvalidInput, match="needs labels, which the sampling rule of digits masks"):
        client.feedback.compare("digits@1", "digits@2")


def test_answers_whose_outputs_are_hidden_are_not_called_wrong(ruled: World, client: Any) -> None:
    client.sampling.set("digits", {"rate": 1, "masks": {"out.probabilities": "hash", "out.logits": "drop"}})
    ids = answered(ruled, 1, [PLUS])
    client.feedback.give_many("digits", [{"request_id": ids[0], "label": "plus", "reward": 1}])
    with pytest.raises(
        InvalidInput, match="do not hold probabilities or logits: its sampling rule masks them"
    ):
        client.feedback.compare("digits@1", "digits@2")
    assert client.feedback.compare("digits@1", "digits@2", metric="reward").first.judged == 1


def test_what_an_older_rule_hid_is_not_judged_either(ruled: World, client: Any) -> None:
    client.sampling.set("digits", {"rate": 1, "masks": {"label": "hash", "out.probabilities": "round:0"}})
    ids = answered(ruled, 1, [PLUS])
    client.feedback.give_many("digits", [{"request_id": ids[0], "label": "plus"}])
    client.sampling.remove("digits")
    with pytest.raises(InvalidInput, match=r"sampling rule of digits masks \(label=hash until 20"):
        client.feedback.compare("digits@1", "digits@2")
    client.sampling.set("digits", {"rate": 1, "masks": {"out.probabilities": "round:0"}})
    now = datetime.now(UTC)
    ids = answered(ruled, 1, [PLUS])
    client.feedback.give_many("digits", [{"request_id": ids[0], "label": "plus"}])
    with pytest.raises(InvalidInput, match=r"masks them \(out\.probabilities=round:0\)"):
        client.feedback.compare("digits@1", "digits@2", metric="log_loss", since=now)
    assert client.feedback.compare("digits@1", "digits@2", since=now).first.judged == 1, "by its logits"


def test_numbers_are_compared_as_far_as_they_can_be(world: World, client: Any) -> None:
    one_number = Signature(
        inputs=(TensorSpec(name="x", dtype="FP32", shape=(-1, 2)),),
        outputs=(TensorSpec(name="prediction", dtype="FP32", shape=(-1, 1)),),
    )
    for run in ("a", "b"):
        numbers = draft(f"train-price-{run}", model="price").model_copy(update={"signature": one_number})
        world.versions.publish(numbers, {"model.safetensors": b"weights"})
    client.sampling.set("price", {"rate": 1})
    ids = []
    for version in (1, 2):
        log = SampleLog(world.store, Target("price", version), replica=f"r{version}")
        log.write()
        for _ in range(40):
            ids.append(new_request_id())
            log.hear(
                ids[-1], {"x": np.zeros((1, 2), np.float32)}, {"prediction": np.array([[7.0]], np.float32)}
            )
        log.write()
    for metric in ("mae", "mse"):
        found = client.feedback.compare("price@1", "price@2", metric=metric)
        assert (found.first.sampled, found.first.judged, found.verdict) == (40, 0, "unknown")
    labels = ["1e200", "nan", "inf", "owl", *["8"] * 36, *["9"] * 40]
    items = [{"request_id": i, "label": label} for i, label in zip(ids, labels, strict=True)]
    client.feedback.give_many("price", items)
    found = client.feedback.compare("price@1", "price@2", metric="mse")
    assert (found.first.judged, found.first.metric.value, found.second.metric.value) == (36, 1, 4)
    assert found.verdict == "worse"
    with pytest.raises(InvalidInput, match="reward"):
        client.feedback.give(ids[0], reward=1e300, model="price")


# --- typed ---


def test_it_can_all_be_typed(world: World, raymaas: Type, tmp_path: Path) -> None:
    world.publish()
    world.publish()
    status, out, _ = raymaas(
        "sampling", "set", "digits", "--rate", "100%", "--mask", "in.x=drop", "--keep-days", "7"
    )
    assert (status, out.split(" (")[0]) == (0, "digits: 1 of the requests for 7 days; in.x=drop")
    assert raymaas("sampling", "show", "digits")[1] == out

    lines = []
    for version, right in ((1, 40), (2, 40)):
        ids = answered(world, version, [PLUS] * right + [MINUS] * (50 - right))
        lines += [orjson.dumps({"request_id": i, "label": "plus"}) for i in ids]
    (tmp_path / "outcomes.jsonl").write_bytes(b"\n".join(lines) + b"\n\n")
    status, out, _ = raymaas("feedback", "--model", "digits", "--file", str(tmp_path / "outcomes.jsonl"))
    assert (status, out) == (0, "digits: 100 of 100 kept\n")
    assert (
        raymaas("feedback", new_request_id(), "--model", "digits", "--reward", "1")[1]
        == "digits: 1 of 1 kept\n"
    )

    status, out, _ = raymaas("compare", "digits@1", "digits@2", "--since", "1h")
    assert status == 0
    assert "0.8000" in out
    assert "difference, one look: +0.0000 (" in out
    assert "digits@2 and digits@1 cannot be told apart: accuracy +0 points (" in out
    assert orjson.loads(raymaas("compare", "digits@1", "digits@2", "--json")[1])["verdict"] == "undecided"
    assert (
        "nothing is kept any more; what was kept stays for 7 days"
        in raymaas("sampling", "remove", "digits")[1]
    )


def test_a_wrong_line_is_told_before_anything_is_sent(world: World, raymaas: Type, tmp_path: Path) -> None:
    world.publish()
    raymaas("sampling", "set", "digits", "--rate", "1")
    file = tmp_path / "outcomes.jsonl"
    file.write_text('{"request_id": "r-1", "label": 1}\n{"request_id": "r-2"}\n')
    status, _, remarks = raymaas("feedback", "--model", "digits", "--file", str(file))
    assert status == 1
    assert "outcomes.jsonl, line 2" in remarks
    file.write_text("")
    assert (
        "outcomes.jsonl is empty; write one"
        in raymaas("feedback", "--model", "digits", "--file", str(file))[2]
    )
    file.write_text("{\n")
    assert "line 1: not JSON" in raymaas("feedback", "--model", "digits", "--file", str(file))[2]
    assert "needs --model" in raymaas("feedback", "--file", str(file))[2]
    assert "give the id of a request" in raymaas("feedback", "--reward", "1")[2]
    assert "--mask is FIELD=MASK" in raymaas("sampling", "set", "digits", "--rate", "1", "--mask", "in.x")[2]
    assert said(world) == []
