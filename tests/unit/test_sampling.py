"""What is kept of requests and feedback: by which rule, what is hidden first, and what is read back."""

from __future__ import annotations

import threading
import weakref
from datetime import timedelta
from functools import partial

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from registry_examples import START, Clock, InterruptedStore, memory_store

from raymaas.errors import AlreadyExists, IntegrityError, InvalidInput, NotFound, Unavailable
from raymaas.monitor.masking import Masker
from raymaas.registry.feedback import FeedbackLog
from raymaas.registry.samples import Samples
from raymaas.registry.sampling import SamplingRules
from raymaas.registry.tables import from_parquet, joined, to_parquet
from raymaas.serve.feedback_log import FeedbackWriter
from raymaas.serve.plan import Target
from raymaas.serve.sample_log import SampleLog, is_sampled
from raymaas.specs.base import utc_text
from raymaas.specs.feedback import Feedback
from raymaas.specs.sampling import SamplingRule, masking_of
from raymaas.store import MemoryStore, Store

CHURN_2 = Target("churn", 2)
LONG_AGO = START - timedelta(days=400)
ALL = SamplingRule(rate=1)


def churn_row(name: str, age: float, *, count: int = 1) -> dict[str, np.ndarray]:
    return {
        "name": np.array([name] * count, dtype=object),
        "age": np.full(count, age, np.float32),
        "x": np.full((count, 2, 2), age, np.float32),
    }


def answered(p: float, *, count: int = 1) -> dict[str, np.ndarray]:
    return {"probabilities": np.full((count, 2), [p, 1 - p])}


def ruled(store: Store, rule: SamplingRule) -> SampleLog:
    SamplingRules(store).set("churn", rule, who="ana")
    log = SampleLog(store, CHURN_2, replica="r4x", clock=lambda: START)
    log.write()
    return log


# --- rules ---


def test_the_newest_rule_is_in_force_and_its_hashes_stay_the_same() -> None:
    rules = SamplingRules(memory_store())
    with pytest.raises(NotFound, match=r"nothing is kept of what 'churn' .* `raymaas sampling set churn"):
        rules.in_force("churn")
    first = rules.set("churn", SamplingRule(rate=0.5, masks={"in.name": "hash"}), who="ana")
    assert rules.set("churn", SamplingRule(rate=0.5, masks={"in.name": "hash"}), who="bo") == first
    second = rules.set("churn", SamplingRule(rate=0.1, keep_days=7), who="bo", why="less")
    assert rules.in_force("churn") == second
    assert (second.revision, second.salt, second.keep_days) == (2, first.salt, 7)
    removed = rules.remove("churn", who="ana")
    assert (removed.rule, removed.keep_days) == (None, 7)
    with pytest.raises(NotFound):
        rules.in_force("churn")
    assert rules.ever() == [removed]


def test_models_have_salts_of_their_own() -> None:
    rules = SamplingRules(memory_store())
    assert rules.set("churn", ALL, who="ana").salt != rules.set("digits", ALL, who="ana").salt


def test_of_two_who_change_a_rule_one_is_kept() -> None:
    store = memory_store()
    by_bo = partial(SamplingRules(store).set, "churn", ALL, who="bo")
    # Once it has seen that there is none, the other writes one.
    slow = SamplingRules(InterruptedStore(store, at=2, interrupt=by_bo))
    with pytest.raises(AlreadyExists, match="changed first by bo"):
        slow.set("churn", SamplingRule(rate=0.2), who="cy")


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"rate": 0}, "rate"),
        ({"rate": 1, "masks": {"in.age": "blur"}}, "hash, drop, or round:N"),
        ({"rate": 1, "masks": {"in.age": "round:99"}}, "hash, drop, or round:N"),
        ({"rate": 1, "masks": {"age": "drop"}}, "in.NAME for an input"),
        ({"rate": 1, "masks": {"request_id": "drop"}}, "joins answers and feedback"),
    ],
)
def test_a_rule_that_cannot_be_meant_is_refused(fields: dict[str, object], said: str) -> None:
    with pytest.raises(InvalidInput, match=said):
        SamplingRule.parse(fields, source="rule")


def test_what_a_mask_says() -> None:
    assert masking_of("round:-2") == ("round", -2)
    assert masking_of("hash").how == "hash"


# --- masking ---


def masker(**masks: str) -> Masker:
    fields = {name.replace("_", ".", 1): mask for name, mask in masks.items()}
    return Masker(SamplingRule(rate=1, masks=fields), bytes(32))


def test_masks_hide_and_the_rest_stays() -> None:
    hide = masker(in_name="hash", in_age="round:-1", in_x="drop")
    inputs = churn_row("Zoe", 43.7, count=2)
    names = hide.values("in.name", inputs["name"])
    assert names is not None
    assert names[0] == names[1] != "Zoe"
    assert len(names[0]) == 32
    ages = hide.values("in.age", inputs["age"])
    assert ages is not None
    assert ages.tolist() == [40, 40]
    assert hide.values("in.x", inputs["x"]) is None
    kept = hide.values("out.p", inputs["age"])
    assert kept is inputs["age"]


def test_with_others_dropped_only_what_is_named_is_kept() -> None:
    strict = Masker(SamplingRule(rate=1, masks={"in.age": "round:0"}, others="drop"), bytes(32))
    inputs = churn_row("Zoe", 43.7)
    assert strict.values("in.name", inputs["name"]) is None
    assert strict.values("in.age", inputs["age"]) is not None
    assert strict.label("yes") == "yes"
    assert strict.request_id("r-1") == "r-1"


def test_what_cannot_be_rounded_is_not_kept() -> None:
    assert masker(in_name="round:1").values("in.name", churn_row("Zoe", 1)["name"]) is None
    assert masker(label="round:0").label("Zoe") is None
    assert masker(label="round:0").label("nan") is None
    assert masker(label="round:0").label("3.7") == "4.0"


def test_hashes_differ_by_value_field_and_model() -> None:
    rows = np.array([[1.0, 2.0], [2.0, 1.0], [1.0, 2.0]])
    hide = masker(in_x="hash", in_y="hash")
    x, y = hide.values("in.x", rows), hide.values("in.y", rows)
    assert x is not None
    assert y is not None
    assert x[0] == x[2] != x[1]
    assert not set(x) & set(y)
    other = Masker(hide.rule, bytes([1] * 32)).values("in.x", rows)
    assert other is not None
    assert not set(x) & set(other)


@given(st.text(max_size=20), st.sampled_from(["hash", "drop"]))
def test_a_hidden_label_is_never_the_label(label: str, mask: str) -> None:
    assert masker(label=mask).label(label) != label


def test_what_was_kept_under_several_rules_is_hidden_by_any_of_them() -> None:
    clock = Clock()
    rules = SamplingRules(MemoryStore(clock))
    assert rules.since("churn", LONG_AGO).mask("in.name") is None
    moments = []
    for masks in ({"in.name": "hash"}, {}, {"in.age": "round:1"}, {"out.p": "drop"}):
        clock.now += timedelta(hours=1)
        moments.append(clock.now)
        rules.set("churn", SamplingRule(rate=1, masks=masks), who="ana")
    all_of_it = rules.since("churn", LONG_AGO)
    assert all_of_it.mask("in.name") == f"in.name=hash until {utc_text(moments[1])}"
    assert all_of_it.mask("in.age") == f"in.age=round:1 until {utc_text(moments[3])}"
    assert all_of_it.mask("in.age", rounds=False) is None
    assert all_of_it.mask("out.p") == "out.p=drop"
    assert rules.since("churn", moments[0] + timedelta(minutes=1)).mask("in.name") is not None
    assert rules.since("churn", moments[1]).mask("in.name") is None
    assert rules.since("churn", LONG_AGO, until=moments[0]).mask("in.name") == "in.name=hash"
    assert rules.since("churn", moments[1], until=moments[2]).mask("out.p") is None
    rules.remove("churn", who="ana")
    assert rules.since("churn", moments[1]).mask("in.age") is not None


# --- the replica's log ---


def test_what_was_sampled_is_read_back_row_by_row() -> None:
    store = memory_store()
    log = ruled(store, ALL)
    assert log.wants("r-1")
    log.hear("r-1", churn_row("Zoe", 43, count=2), answered(0.25, count=2))
    log.hear("r-2", churn_row("Ann", 7), answered(0.75))
    log.write()
    rows = Samples(store).table("churn", since=LONG_AGO)
    assert rows["request_id"].to_pylist() == ["r-1", "r-1", "r-2"]
    assert rows["row"].to_pylist() == [0, 1, 0]
    assert rows["version"].to_pylist() == [2, 2, 2]
    assert rows["at"].to_pylist() == [START] * 3
    assert rows["in.name"].to_pylist() == ["Zoe", "Zoe", "Ann"]
    assert rows["in.x"].to_pylist()[2] == [7, 7, 7, 7]
    assert rows["out.probabilities"].to_pylist()[0] == [0.25, 0.75]


def test_texts_and_rows_of_different_lengths_are_kept_as_lists() -> None:
    store = memory_store()
    log = ruled(store, ALL)
    for length in (2, 3):
        tokens = {"tokens": np.arange(length)[None], "words": np.array([["a", "b"]], dtype=object)}
        log.hear(f"r-{length}", tokens, {"half": np.zeros(1, np.float16)})
    log.write()
    rows = Samples(store).table("churn", since=LONG_AGO)
    assert rows["in.tokens"].to_pylist() == [[0, 1], [0, 1, 2]]
    assert rows["in.words"].to_pylist() == [["a", "b"]] * 2
    assert rows["out.half"].to_pylist() == [0, 0]


def test_a_text_that_is_missing_is_null_among_the_others() -> None:
    store = memory_store()
    log = ruled(store, ALL)
    log.hear("r-1", {"name": np.array(["Zoe", None], dtype=object)}, {})
    log.write()
    assert Samples(store).table("churn", since=LONG_AGO)["in.name"].to_pylist() == ["Zoe", None]


def test_without_a_rule_nothing_is_wanted_and_nothing_is_written() -> None:
    store = memory_store()
    log = SampleLog(store, CHURN_2, replica="r4x", clock=lambda: START)
    log.write()
    assert not log.wants("r-1")
    log.hear("r-1", churn_row("Zoe", 43), answered(0.5))
    log.write()
    assert not store.list("samples/")


def test_a_rule_that_is_removed_takes_what_waits_with_it() -> None:
    store = memory_store()
    log = ruled(store, ALL)
    log.hear("r-1", churn_row("Zoe", 43), answered(0.5))
    SamplingRules(store).remove("churn", who="ana")
    log.write()
    assert not store.list("samples/")
    assert not log.wants("r-2")


def test_while_the_rule_cannot_be_read_nothing_is_written() -> None:
    store = memory_store()
    log = ruled(store, ALL)
    log.hear("r-1", churn_row("Zoe", 43), answered(0.5))

    def away(prefix: str) -> str | None:
        raise Unavailable("the store is away")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(store, "first", away)
        with pytest.raises(Unavailable):
            log.write()
    assert not store.list("samples/")
    log.write()
    assert len(Samples(store).table("churn", since=LONG_AGO)) == 1


def test_what_could_not_be_written_is_masked_anew_or_forgotten() -> None:
    store = memory_store()
    log = ruled(store, ALL)
    log.hear("r-1", churn_row("Zoe", 43), answered(0.5))

    def away(key: str, data: bytes) -> None:
        raise Unavailable("the store is away")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(store, "create", away)
        with pytest.raises(Unavailable):
            log.write()
    SamplingRules(store).set("churn", SamplingRule(rate=1, masks={"in.name": "drop"}), who="ana")
    log.write()
    assert not store.list("samples/")


def test_what_could_not_be_written_is_written_with_what_came_since() -> None:
    store = memory_store()
    log = ruled(store, ALL)
    log.hear("r-1", churn_row("Zoe", 43), answered(0.5))

    def away(key: str, data: bytes) -> None:
        raise Unavailable("the store is away")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(store, "create", away)
        with pytest.raises(Unavailable):
            log.write()
    log.hear("r-2", churn_row("Ann", 7), answered(0.5))
    log.start()
    log.close()
    kept = Samples(store).table("churn", since=LONG_AGO)["request_id"].to_pylist()
    assert sorted(kept) == ["r-1", "r-2"]


def test_a_rule_that_keeps_fewer_holds_for_what_waits() -> None:
    store = memory_store()
    log = ruled(store, ALL)
    for number in range(200):
        log.hear(f"r-{number}", churn_row("Zoe", 43), answered(0.5))
    SamplingRules(store).set("churn", SamplingRule(rate=0.2), who="ana")
    log.write()
    kept = Samples(store).table("churn", since=LONG_AGO)["request_id"].to_pylist()
    assert kept == [f"r-{number}" for number in range(200) if is_sampled(f"r-{number}", 0.2)]
    assert 10 < len(kept) < 80


def test_long_texts_take_their_room() -> None:
    store = memory_store()
    log = ruled(store, ALL)
    long = {"name": np.array(["x" * (20 << 20)], dtype=object)}
    log.hear("r-1", long, {})
    log.hear("r-2", long, {})
    log.write()
    assert Samples(store).table("churn", since=LONG_AGO)["request_id"].to_pylist() == ["r-1"]


def test_a_full_log_forgets_what_it_has_no_room_for() -> None:
    store = memory_store()
    log = ruled(store, ALL)
    large = {"x": np.zeros((1, 20 << 20), np.uint8)}
    log.hear("r-1", large, {})
    log.hear("r-2", large, {})
    log.write()
    assert Samples(store).table("churn", since=LONG_AGO)["request_id"].to_pylist() == ["r-1"]
    log.hear("r-3", large, {})
    log.write()
    assert len(Samples(store).table("churn", since=LONG_AGO)) == 2


def test_small_requests_take_their_room_too() -> None:
    store = memory_store()
    log = ruled(store, ALL)
    tiny = {"x": np.zeros(1, np.float32)}
    for number in range(40_000):
        log.hear(f"r-{number}", tiny, {})
    log.write()
    assert 10_000 < len(Samples(store).table("churn", since=LONG_AGO)) <= 32 << 10


def test_a_request_of_a_batch_does_not_keep_the_batch_in_memory() -> None:
    log = ruled(memory_store(), ALL)
    batch = np.zeros((64, 1000), np.float32)
    gone = weakref.ref(batch)
    log.hear("r-1", {"x": batch[3:4]}, {})
    del batch
    assert gone() is None


def test_a_log_that_is_closed_leaves_what_it_heard() -> None:
    store = memory_store()
    log = ruled(store, ALL)
    log.start()
    log.hear("r-1", churn_row("Zoe", 43), answered(0.5))
    log.close()
    assert len(Samples(store).table("churn", since=LONG_AGO)) == 1


@given(st.floats(0.05, 0.95))
def test_about_the_share_of_requests_is_sampled_that_the_rule_says(rate: float) -> None:
    kept = sum(is_sampled(f"0199{place:08x}", rate) for place in range(2000))
    assert abs(kept / 2000 - rate) < 0.06


def test_all_and_none() -> None:
    assert all(is_sampled(f"{place}", 1.0) for place in range(1000))
    assert sum(is_sampled(f"{place}", 2e-5) for place in range(200_000)) < 12


# --- canaries ---

CANARY_TEXT = "canary-Zoe-Quux"
CANARY_NUMBER = 43.71828


def all_that_was_written(store: Store) -> str:
    """Every byte, and every value of every table."""
    found = []
    for key in store.list("", limit=100_000):
        raw = store.read(key)
        found.append(raw.decode("latin-1"))
        if key.endswith(".parquet"):
            found.append(str(from_parquet(raw, source=key).to_pylist()))
    return "\n".join(found)


def kept_with(rule: SamplingRule) -> str:
    from raymaas.serve.feedback_log import FeedbackWriter

    store = memory_store()
    log = ruled(store, rule)
    inputs = churn_row(CANARY_TEXT, CANARY_NUMBER)
    log.hear(f"id-{CANARY_TEXT}", inputs, answered(CANARY_NUMBER))
    log.write()
    writer = FeedbackWriter(FeedbackLog(store), SamplingRules(store))
    writer.keep("churn", [Feedback(request_id=f"id-{CANARY_TEXT}", label=CANARY_TEXT)])
    writer.keep("churn", [Feedback(request_id=f"id-{CANARY_TEXT}", row=1, label=str(CANARY_NUMBER))])
    assert store.list("samples/")
    assert store.list("feedback/")
    return all_that_was_written(store)


def test_what_must_not_be_kept_is_nowhere_in_what_was_written() -> None:
    masks = {
        "request_id": "hash",
        "label": "hash",
        "in.name": "hash",
        "in.age": "round:0",
        "in.x": "drop",
        "out.probabilities": "hash",
    }
    written = kept_with(SamplingRule(rate=1, masks=masks))
    assert CANARY_TEXT not in written
    assert "43.71" not in written
    assert "44.0" in written


def test_the_search_for_canaries_finds_those_that_are_kept() -> None:
    written = kept_with(ALL)
    assert written.count(CANARY_TEXT) >= 4
    assert "43.71" in written


def test_answers_and_feedback_with_hashed_ids_are_joined_all_the_same() -> None:
    from raymaas.serve.feedback_log import FeedbackWriter

    store = memory_store()
    log = ruled(store, SamplingRule(rate=1, masks={"request_id": "hash"}))
    log.hear("r-1", churn_row("Zoe", 1), answered(0.5))
    log.write()
    writer = FeedbackWriter(FeedbackLog(store), SamplingRules(store))
    writer.keep("churn", [Feedback(request_id="r-1", label="yes")])
    sampled = Samples(store).table("churn", since=LONG_AGO)["request_id"].to_pylist()
    said = FeedbackLog(store).table("churn", since=LONG_AGO)["request_id"].to_pylist()
    assert sampled == said != ["r-1"]


# --- reading back ---


def test_a_column_that_was_hashed_later_is_null_where_it_was_not() -> None:
    numbers = pa.table({"age": [1.0, 2.0], "kept": [1, 2]})
    hashes = pa.table({"age": ["a1"], "more": ["b"]})
    found = joined([hashes, numbers], pa.schema([("kept", pa.int64())]))
    assert found["age"].to_pylist() == ["a1", None, None]
    assert found["kept"].to_pylist() == [None, 1, 2]
    assert found["more"].to_pylist() == ["b", None, None]
    assert joined([], pa.schema([("kept", pa.int64())])).num_rows == 0


def test_a_damaged_page_is_told() -> None:
    raw = to_parquet(pa.table({"x": np.arange(10_000)}))
    for place in (100, len(raw) // 2, len(raw) - 3):
        damaged = bytearray(raw)
        damaged[place] ^= 1
        with pytest.raises(IntegrityError, match=r"chunk\.parquet was damaged"):
            from_parquet(bytes(damaged), source="chunk.parquet")


def test_samples_of_chosen_versions_and_times() -> None:
    clock = Clock()
    store = MemoryStore(clock)
    for version in (1, 2):
        table = pa.table(
            {
                "request_id": [f"r{version}"],
                "row": pa.array([0], pa.int32()),
                "at": pa.array([clock.now], pa.timestamp("us", "UTC")),
            }
        )
        Samples(store).append("churn", version, table, replica="r4x", at=clock.now)
        clock.now += timedelta(hours=1)
    samples = Samples(store)
    assert samples.versions("churn") == [1, 2]
    assert samples.table("churn", versions=[1], since=LONG_AGO)["request_id"].to_pylist() == ["r1"]
    assert samples.table("churn", since=START + timedelta(minutes=1))["request_id"].to_pylist() == ["r2"]
    until = samples.table("churn", since=LONG_AGO, until=START)
    assert until["request_id"].to_pylist() == ["r1"]
    assert len(samples.table("digits", since=LONG_AGO)) == 0
    with pytest.raises(InvalidInput, match="ask for a shorter time"):
        Samples(store, chunks_per_table=0).table("churn", since=LONG_AGO)


def test_the_last_feedback_on_a_row_holds_label_and_reward_each_for_itself() -> None:
    clock = Clock()
    store = MemoryStore(clock)
    log = FeedbackLog(store)
    log.append("churn", [Feedback(request_id="r-1", label="no"), Feedback(request_id="r-1", row=1, label=7)])
    clock.now += timedelta(seconds=1)
    log.append("churn", [Feedback(request_id="r-1", label="yes")])
    clock.now += timedelta(seconds=1)
    log.append("churn", [Feedback(request_id="r-1", reward=0.5)])
    rows = sorted(log.table("churn", since=LONG_AGO).to_pylist(), key=lambda row: row["row"])
    assert [(row["label"], row["reward"]) for row in rows] == [("yes", 0.5), ("7", None)]
    assert rows[0]["at"] == clock.now
    assert len(log.table("churn", since=clock.now)) == 1
    assert len(log.table("digits", since=LONG_AGO)) == 0


def test_of_what_is_said_within_one_tick_of_the_stores_clock_the_last_holds() -> None:
    log = FeedbackLog(memory_store())
    for number in range(20):
        log.append("churn", [Feedback(request_id="r-1", label=number)])
        (row,) = log.table("churn", since=LONG_AGO).to_pylist()
        assert row["label"] == str(number)


def test_feedback_that_waits_for_the_store_is_masked_by_the_rule_of_when_it_is_written() -> None:
    store = memory_store()
    rules, log = SamplingRules(store), FeedbackLog(store)
    rules.set("churn", ALL, who="ana")
    writer = FeedbackWriter(log, rules)
    writing, go_on = threading.Event(), threading.Event()
    append = log.append

    def slow(model: str, items: list[Feedback]) -> None:
        writing.set()
        assert go_on.wait(10)
        append(model, items)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(log, "append", slow)
        said = [
            threading.Thread(
                target=writer.keep, args=("churn", [Feedback(request_id=f"r-{n}", label=CANARY_TEXT)])
            )
            for n in range(2)
        ]
        said[0].start()
        assert writing.wait(10)
        said[1].start()
        rules.set("churn", SamplingRule(rate=1, masks={"label": "drop", "request_id": "hash"}), who="ana")
        go_on.set()
        for thread in said:
            thread.join()
    assert log.table("churn", since=LONG_AGO)["request_id"].to_pylist() == ["r-0"]
