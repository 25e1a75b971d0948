"""From answers to a new version: what was asked is kept masked, what turned out is said, learned from, compared.

A job that is registered learns from it by itself, and what it trained is rolled out by itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import numpy as np
import pytest
from journey_home import Home, wait_until
from sklearn.datasets import load_digits

from raymaas.client import Client
from raymaas.registry.samples import Samples
from raymaas.registry.tables import from_parquet
from raymaas.specs.runs import Succeeded
from raymaas.store import Store, open_store

pytestmark = [pytest.mark.journey]

AN_HOUR_AGO = timedelta(hours=1)
CANARY, GIVEN = 13.371337, -7.733119
_ROWS = 300


@pytest.fixture
def store(home: Home) -> Store:
    return open_store(home.plan().storage)


def ask(client: Client, reference: str, rows: np.ndarray, labels: Sequence[int]) -> list[dict[str, Any]]:
    """A request for each row; feedback that knows what was true of it."""
    model = client.model(reference)
    ids = [model.predict(row[None]).request_id for row in rows]
    return [{"request_id": i, "label": int(label)} for i, label in zip(ids, labels, strict=True)]


def sampled(store: Store, version: int) -> int:
    since = datetime.now(UTC) - AN_HOUR_AGO
    return len(Samples(store).table("digits", versions=[version], since=since))


def keeps_all(client: Client, store: Store, version: int) -> None:
    """Wait until the replicas of `version` follow the rule."""
    before = sampled(store, version)

    def followed() -> bool:
        client.model(f"digits@{version}").predict(np.zeros((1, 64), np.float32))
        return sampled(store, version) > before

    wait_until(followed, timeout_s=40, what=f"answers of digits@{version} are kept")


def kept(store: Store, version: int, request_id: str) -> bool:
    since = datetime.now(UTC) - AN_HOUR_AGO
    rows = Samples(store).table("digits", versions=[version], since=since)
    return request_id in rows["request_id"].to_pylist()


def runs_by_itself(home: Home, client: Client, *settings: str) -> int:
    """The version of the digits job, with those settings, that a schedule started; it starts no other."""
    words = [word for setting in ("start={every_h: 0.003}", *settings) for word in ("--set", setting)]
    home.cli("triggers", "add", "jobs/train_digits.yaml", "--name", "nightly", *words)
    wait_until(
        lambda: bool(client.triggers.get("nightly").starts), timeout_s=60, what="the trigger starts a run"
    )
    client.triggers.remove("nightly")
    (started,) = [run for run in client.runs.list(model="digits") if run.who.startswith("trigger nightly")]
    run = client.run(started.run_id)
    ended = run.wait(timeout_s=180)
    assert isinstance(ended, Succeeded)
    assert run.spec().why == "every 0.003 h"
    assert ended.version is not None
    assert "begins at 10 % beside 1" in "".join(run.logs())
    return ended.version


def test_a_job_learns_by_itself_from_what_came_of_answers_and_its_version_takes_over(
    home: Home, digits: str, rows: np.ndarray, store: Store
) -> None:
    labels = load_digits().target
    since = datetime.now(UTC)
    with home.client() as client:
        client.promote("digits@1")
        client.sampling.set("digits", {"rate": 1})
        keeps_all(client, store, 1)
        items = ask(client, "digits@1", rows[:_ROWS], labels[:_ROWS])
        client.feedback.give_many("digits", items)
        last = partial(kept, store, 1, items[-1]["request_id"])
        wait_until(last, timeout_s=30, what="all answers are kept")

        version = runs_by_itself(
            home,
            client,
            "data={use: feedback, config: {of: digits@1}}",
            "init_from=digits@1",
            "training.epochs=2",
            "scaling.workers=1",
            "rollout={steps: [10, 100], every_s: 60, guards: {max_error_rate: 0.01}, give_up_after_s: 3600}",
        )
        found = client.rollouts.get("digits")
        assert (found.new, found.phase, found.old, found.percent) == (version, "advancing", 1, 10)
        assert f"rollout of digits@{version} beside 1" in home.cli("status").stdout
        client.rollouts.abort("digits")
        wait_until(
            lambda: client.models.state("digits").traffic[1] == 100,
            timeout_s=20,
            what="version 1 answers again",
        )
        lineage = home.cli("models", "lineage", f"digits@{version}", RAYMAAS_URL=home.plan().url).stdout
        assert "feedback" in lineage

        keeps_all(client, store, version)
        other = slice(_ROWS, _ROWS + 60)
        items = ask(client, f"digits@{version}", rows[other], labels[other])
        client.feedback.give_many("digits", items)
        last = partial(kept, store, version, items[-1]["request_id"])
        wait_until(last, timeout_s=30, what="all answers are kept")
        compared = client.feedback.compare("digits@1", f"digits@{version}", since=since)
        assert (compared.first.judged, compared.second.judged) == (_ROWS, 60)
        assert compared.second.metric is not None
        assert compared.second.metric.value > 0.8
        shown = home.cli("compare", "digits@1", f"digits@{version}", RAYMAAS_URL=home.plan().url).stdout
        assert f"digits@{version}" in shown

        # Rows of another kind, counted by the replica and written when it leaves.
        upside_down = 16 - rows[:_ROWS]
        model = client.model(f"digits@{version}")
        for start in range(0, _ROWS, 50):
            model.predict(upside_down[start : start + 50])
        client.undeploy(f"digits@{version}")
        wait_until(
            lambda: client.models.drift(f"digits@{version}").verdict == "drifted",
            timeout_s=60,
            what="it is told that the rows drifted",
        )
        client.sampling.remove("digits")


def test_what_is_masked_is_nowhere_in_the_store(
    home: Home, digits: str, rows: np.ndarray, store: Store
) -> None:
    """And what no mask hides is found: the search works."""
    with home.client() as client:
        client.sampling.set("digits", {"rate": 1, "masks": {"in.x": "drop", "label": "drop"}})
        keeps_all(client, store, 1)
        answer = client.model("digits@1").predict(np.full((1, 64), CANARY, np.float32))
        client.feedback.give(answer, label="canary-of-nobody", reward=GIVEN)
        wait_until(partial(kept, store, 1, answer.request_id), timeout_s=30, what="it is kept")
        client.sampling.remove("digits")
    written = all_that_was_written(store)
    masked = (b"canary-of-nobody", b"13.3713", np.float32(CANARY).tobytes())
    assert [needle for needle in masked if needle in written] == []
    plain = (answer.request_id.encode(), str(GIVEN).encode(), np.float64(GIVEN).tobytes())
    assert [needle for needle in plain if needle in written] == list(plain)


def all_that_was_written(store: Store) -> bytes:
    """Every byte of the store, and every value of its tables as text and as it lies in memory."""
    found, after = [], None
    while keys := store.list("", after=after):
        after = keys[-1]
        for key in keys:
            raw = store.read(key)
            found.append(raw)
            if key.startswith(("samples/", "feedback/")):
                table = from_parquet(raw, source=key)
                found.append(str(table.to_pylist()).encode())
                found += [
                    buffer.to_pybytes()
                    for column in table.columns
                    for chunk in column.chunks
                    for buffer in chunk.buffers()
                    if buffer is not None
                ]
    return b"\n".join(found)
