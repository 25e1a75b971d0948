"""Runs that learn from feedback: which rows they take, what they refuse, and what a version then says of its origin."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from local_training import fit_here, trained, without_graphs
from sklearn.datasets import load_digits

from raymaas.cli.lineage_tree import version_tree
from raymaas.client.jobfile import read_job, with_origins
from raymaas.data.cards import find_card
from raymaas.data.dataset import open_dataset, prepare
from raymaas.data.sources.base import DataFiles
from raymaas.data.sources.feedback import FeedbackRows
from raymaas.data.split import split
from raymaas.data.taking import keep_taken
from raymaas.errors import InvalidInput, NotFound
from raymaas.jobs.answered import labelled_in
from raymaas.registry import moves
from raymaas.registry.feedback import FeedbackLog
from raymaas.registry.lineage import Lineages
from raymaas.registry.resolve import pinned
from raymaas.registry.sampling import SamplingRules
from raymaas.registry.states import States
from raymaas.registry.versions import Versions
from raymaas.serve.plan import Target
from raymaas.serve.request_log import RequestLog
from raymaas.serve.sample_log import SampleLog
from raymaas.specs.base import utc_text
from raymaas.specs.feedback import Feedback
from raymaas.specs.jobs import Component, Split, TrainJob
from raymaas.specs.sampling import SamplingRule
from raymaas.store import LocalStore, Store

NETWORK = {"use": "mlp", "config": {"hidden": [16], "input_scale": 0.0625}}
JOB: dict[str, Any] = {
    "model": "digits",
    "data": {"use": "digits"},
    "architecture": NETWORK,
    "training": {"epochs": 2, "learning_rate": 0.01},
}
BUYERS = """\
age,city,buys
40,Rome,yes
20,Oslo,no
,Rome,yes
31,Oslo,no
"""


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> LocalStore:
    store = LocalStore(tmp_path / "store")
    fit_here(monkeypatch, store, files=files_of(store))
    without_graphs(monkeypatch)
    return store


def files_of(store: Store) -> DataFiles:
    return DataFiles(labelled=labelled_in(store, sleep=lambda seconds: None))


def answered(
    store: Store, version: int, rows: Mapping[str, np.ndarray], *, model: str = "digits", first: int = 0
) -> None:
    """A request for each row, called r-0 and so on, as a replica samples them."""
    log = SampleLog(store, Target(model, version), replica=f"v{version}")
    log.write()
    for place in range(len(next(iter(rows.values())))):
        row = {name: values[place : place + 1] for name, values in rows.items()}
        if log.wants(f"r-{first + place}"):
            log.hear(f"r-{first + place}", row, {"probabilities": np.zeros((1, 10), np.float32)})
    log.write()


def labelled(store: Store, labels: list[Any], *, model: str = "digits", first: int = 0) -> None:
    items = [Feedback(request_id=f"r-{first + n}", label=label) for n, label in enumerate(labels)]
    FeedbackLog(store).append(model, items)


def digits_with_feedback(store: Store, rows: int = 200, **rule: Any) -> None:
    trained(store, JOB)
    SamplingRules(store).set("digits", SamplingRule(**({"rate": 1} | rule)), who="ana")
    digits = load_digits()
    answered(store, 1, {"x": digits.data[:rows].astype(np.float32)})
    labelled(store, digits.target[:rows].tolist())


def rows_from(store: Store, of: str = "digits@1", **config: Any) -> Any:
    return prepare(store, Component(use="feedback", config={"of": of} | config), files=files_of(store))


# --- which rows ---


def test_what_was_asked_becomes_rows_with_the_labels_in_the_order_of_the_version(store):
    digits_with_feedback(store)
    found = rows_from(store)
    digits = load_digits()
    np.testing.assert_array_equal(found.rows.x_ND, digits.data[:200])
    assert [found.card.classes[y] for y in found.rows.y_N] == [str(label) for label in digits.target[:200]]
    assert found.card.name == "feedback-digits"
    assert found.card.classes == Versions(store).get("digits", 1).signature.classes
    assert found.rows.kept["request_id"].tolist() == [f"r-{n}" for n in range(200)]
    origin = found.card.feedback
    assert (origin.model, origin.versions, origin.requests) == ("digits", (1,), 200)
    assert origin.first <= origin.last


def test_only_rows_with_a_label_are_taken_and_each_with_the_last_one(store):
    digits_with_feedback(store, rows=120)
    answered(store, 1, {"x": np.zeros((5, 64), np.float32)}, first=120)
    FeedbackLog(store).append("digits", [Feedback(request_id="r-121", reward=1.0)])
    labelled(store, ["3"], first=7)
    found = rows_from(store)
    assert len(found.rows) == 120
    assert found.card.classes[found.rows.y_N[7]] == "3"


def test_of_one_version_or_of_all(store):
    digits_with_feedback(store, rows=100)
    trained(store, JOB)
    answered(store, 2, {"x": np.ones((30, 64), np.float32)}, first=100)
    labelled(store, ["1"] * 30, first=100)
    assert len(rows_from(store, "digits@1").rows) == 100
    assert len(rows_from(store, "digits@2", min_rows=30).rows) == 30
    both = rows_from(store, "digits")
    assert len(both.rows) == 130
    assert both.card.feedback.versions == (1, 2)


def test_a_run_keeps_to_the_rows_there_were_when_it_was_submitted(store):
    digits_with_feedback(store, rows=120)
    job = pinned(
        TrainJob.parse(JOB | {"data": {"use": "feedback", "config": {"of": "digits@1"}}}, source="job"),
        Versions(store),
        States(store),
        now=store.now(),
    )
    first = prepare(store, job.data, files=files_of(store))
    answered(store, 1, {"x": np.ones((30, 64), np.float32)}, first=120)
    labelled(store, ["1"] * 30, first=120)
    labelled(store, ["9"])
    assert prepare(store, job.data, files=files_of(store)).card == first.card
    assert len(rows_from(store).rows) == 150


def test_a_run_keeps_to_rows_that_have_passed_away_since(store):
    digits_with_feedback(store, rows=120)
    until = utc_text(store.now())
    first = rows_from(store, until=until)
    for key in store.list("samples/", limit=1000):
        store.delete(key)
    again = rows_from(store, until=until)
    assert again.card == first.card
    np.testing.assert_array_equal(again.rows.x_ND, first.rows.x_ND)
    with pytest.raises(InvalidInput, match="there are 0 rows"):
        rows_from(store, until=until, min_rows=99)


def test_of_two_that_take_the_rows_of_a_run_both_have_those_of_the_first(store):
    digits_with_feedback(store, rows=120)
    until = store.now()
    source = FeedbackRows(of="digits@1", until=until)
    slow = rows_from(store).card
    labelled(store, ["9"])
    first = keep_taken(store, rows_from(store).card, source)
    assert slow != first
    assert keep_taken(store, slow, source) == first
    assert rows_from(store, until=utc_text(until)).card == first


def test_answers_from_before_are_left_out(store):
    digits_with_feedback(store, rows=120)
    with pytest.raises(InvalidInput, match="there are 0 rows with a label of digits@1"):
        rows_from(store, until=utc_text(datetime.now(UTC) - timedelta(days=1)))


def test_it_waits_until_replicas_have_written_what_they_answered(store):
    digits_with_feedback(store, rows=10)
    waited: list[float] = []
    labelled_in(store, sleep=waited.append)("digits@1", store.now() - timedelta(days=1), store.now())
    labelled_in(store, sleep=waited.append)("digits@1", store.now(), store.now() - timedelta(minutes=1))
    assert 14 < waited[0] <= 15
    assert waited[1] == 0


# --- what is refused ---


def test_too_few_rows_say_what_to_do(store):
    digits_with_feedback(store, rows=20)
    with pytest.raises(InvalidInput, match=r"there are 20 rows .* min_rows is 100: give more feedback"):
        rows_from(store)


def test_labels_that_the_model_does_not_know_are_named_or_skipped(store):
    digits_with_feedback(store, rows=120)
    labelled(store, ["seven", "seven", "owl"])
    with pytest.raises(InvalidInput, match=r"no class of digits, .*: 'seven' \(2 rows\), 'owl' \(1 rows\)"):
        rows_from(store)
    assert len(rows_from(store, unknown_labels="skip").rows) == 117


@pytest.mark.parametrize("mask", ["hash", "drop"])
def test_an_input_that_was_hidden_is_named(store, mask):
    digits_with_feedback(store, rows=120, masks={"in.x": mask})
    with pytest.raises(InvalidInput, match=rf"learns from in\.x, which .* hides or hid \(in\.x={mask}\)"):
        rows_from(store)


def test_masked_labels_are_refused_before_anything_is_read(store):
    digits_with_feedback(store, rows=20, masks={"label": "hash"})
    with pytest.raises(InvalidInput, match=r"hides or hid labels \(label=hash\)"):
        rows_from(store)


def test_a_class_that_was_rounded_is_refused(store):
    digits_with_feedback(store, rows=20, masks={"label": "round:0"})
    with pytest.raises(InvalidInput, match=r"hides or hid labels \(label=round:0\)"):
        rows_from(store)


def test_a_model_of_which_nothing_was_kept_says_how_to_begin(store):
    trained(store, JOB)
    with pytest.raises(NotFound, match="raymaas sampling set digits --rate 10%"):
        rows_from(store)
    with pytest.raises(InvalidInput, match="where a run is carried out"):
        prepare(store, Component(use="feedback", config={"of": "digits"}))


# --- a version that learned from them ---


def test_a_version_learns_from_feedback_and_says_where_it_came_from(store):
    digits_with_feedback(store, rows=600)
    said: list[str] = []
    job = JOB | {"data": {"use": "feedback", "config": {"of": "digits@1"}}, "init_from": "digits@1"}
    version = trained(store, job, said=said, files=files_of(store))
    assert "starting from digits@1: 4 of 4 tensors" in said
    assert version.lineage.parent == 1
    assert version.evaluation.rows == 120
    before = Versions(store).get("digits", 1).evaluation.metrics["accuracy"].value
    assert version.evaluation.metrics["accuracy"].value > before - 0.05

    card = find_card(store, version.lineage.dataset, version.lineage.data_fingerprint)
    assert card is not None
    assert card.feedback is not None
    lineages = Lineages(store, card_of=partial(find_card, store))
    trace = lineages.trace("digits", version.version)
    told = "".join(str(node.label) for node in _nodes(version_tree(trace)))
    assert "from feedback on 600 requests that digits@1 answered" in told
    dataset = open_dataset(store, version.lineage.dataset, version.lineage.data_fingerprint)
    assert "r-599" in dataset.rows.kept["request_id"]


def test_from_a_request_one_gets_to_the_versions_that_learned_from_it(store):
    digits_with_feedback(store, rows=120)
    log = RequestLog(store, Target("digits", 1), replica="v1")
    for request_id in ("r-7", "r-other"):
        log(status=200, seconds=0.001, request_id=request_id, rows=1)
    log.write()
    job = JOB | {"data": {"use": "feedback", "config": {"of": "digits@1"}}}
    made = trained(store, job, files=files_of(store))
    lineages = Lineages(store, card_of=partial(find_card, store))
    trace = lineages.trace("digits", 1, request_id="r-7")
    assert [(one.model, one.version) for one in trace.learned] == [("digits", made.version)]
    told = [str(node.label) for node in _nodes(version_tree(trace))]
    assert told.index("learned from it") > 0
    assert lineages.trace("digits", 1, request_id="r-other").learned == ()


def test_rows_may_be_split_by_when_they_were_answered(store):
    digits_with_feedback(store, rows=200)
    found = split(rows_from(store), Split(time="at", stratify=None))
    assert max(found.train.kept["at"]) <= min(found.test.kept["at"])


def test_a_table_with_gaps_is_learned_from_as_it_was_asked(store, tmp_path):
    path = tmp_path / "buyers.csv"
    path.write_text(BUYERS + "50,Oslo,yes\n21,Rome,no\n" * 60)
    data = {"use": "csv", "config": {"path": str(path), "label": "buys"}}
    transforms = [
        {"use": "impute"},
        {"use": "standardize", "config": {"columns": ["age"]}},
        {"use": "one_hot"},
    ]
    buyers = JOB | {
        "model": "buyers",
        "data": data,
        "transforms": transforms,
        "architecture": {"use": "logistic"},
    }
    trained(store, buyers)
    SamplingRules(store).set("buyers", SamplingRule(rate=1), who="ana")
    rows = {
        "age": np.array([40, np.nan] * 60, np.float32),
        "city": np.array(["Rome", "Oslo"] * 60, object),
    }
    answered(store, 1, rows, model="buyers")
    labelled(store, ["yes", "no"] * 60, model="buyers")
    found = rows_from(store, "buyers@1")
    assert [column.name for column in found.card.columns] == ["age", "city"]
    assert found.rows.columns["city"][:2].tolist() == ["Rome", "Oslo"]
    assert np.isnan(found.rows.columns["age"][1])
    feedback = {"use": "feedback", "config": {"of": "buyers@1"}}
    later = buyers | {"data": feedback, "transforms": [], "init_from": "buyers@1"}
    assert trained(store, later, files=files_of(store)).version == 2
    SamplingRules(store).set("buyers", SamplingRule(rate=1, masks={"in.city": "hash"}), who="ana")
    answered(store, 1, {name: values[:1] for name, values in rows.items()}, model="buyers", first=120)
    labelled(store, ["yes"], model="buyers", first=120)
    SamplingRules(store).set("buyers", SamplingRule(rate=1), who="ana")
    with pytest.raises(
        InvalidInput, match=r"learns from in\.city, which .* \(in\.city=hash until 20.*since_days"
    ):
        rows_from(store, "buyers@1", min_rows=1)


def _nodes(tree: Any) -> list[Any]:
    return [tree, *(node for child in tree.children for node in _nodes(child))]


# --- typed ---


def test_words_stand_for_the_fields_of_a_job():
    job = read_job(JOB | {"kind": "train"})
    assert isinstance(job, TrainJob)
    changed = with_origins(job, data="feedback:digits@prod", init_from="digits@prod")
    assert changed.data == Component(use="feedback", config={"of": "digits@prod"})
    assert changed.init_from == "digits@prod"
    assert with_origins(job, data="mnist", init_from=None).data == Component(use="mnist")
    assert with_origins(job, data=None, init_from=None) is job
    with pytest.raises(InvalidInput, match="a name such as mnist, or feedback:MODEL@VERSION"):
        with_origins(job, data="csv:people.csv", init_from=None)
    with pytest.raises(InvalidInput):
        with_origins(job, data="feedback:", init_from=None)


def test_an_alias_whose_feedback_is_asked_for_is_pinned_with_the_moment(store):
    trained(store, JOB)
    now = datetime(2026, 3, 1, tzinfo=UTC)
    states = States(store)
    states.move("digits", partial(moves.deploy, version=1), who="ana")
    states.move("digits", partial(moves.promote, version=1), who="ana")
    job = with_origins(
        TrainJob.parse(JOB, source="job"), data="feedback:digits@prod", init_from="digits@prod"
    )
    found = pinned(job, Versions(store), states, now=now)
    assert found.data.config == {"of": "digits@1", "until": "2026-03-01T00:00:00.000000Z"}
    assert found.init_from == "digits@1"
    assert pinned(found, Versions(store), states, now=now + timedelta(days=1)) == found
    with pytest.raises(InvalidInput, match=r"data\.config\.until: 2026-03-01T.* is not over yet"):
        pinned(found, Versions(store), states, now=now - timedelta(days=1))
    empty = job.model_copy(update={"data": Component(use="feedback", config={"of": "digits", "until": None})})
    assert pinned(empty, Versions(store), states, now=now).data.config["until"] is not None
