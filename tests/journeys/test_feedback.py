"""From answers to a new version: what was asked is kept masked, what turned out is said, learned from, compared."""

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
from raymaas.store import Store, open_store

pytestmark = [pytest.mark.journey]

AN_HOUR_AGO = timedelta(hours=1)
CANARY = 13.371337
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


def test_a_version_learns_from_what_came_of_answers(
    home: Home, digits: str, rows: np.ndarray, store: Store
) -> None:
    labels = load_digits().target
    since = datetime.now(UTC)
    with home.client() as client:
        client.sampling.set("digits", {"rate": 1})
        keeps_all(client, store, 1)
        items = ask(client, "digits@1", rows[:_ROWS], labels[:_ROWS])
        client.feedback.give_many("digits", items)
        last = partial(kept, store, 1, items[-1]["request_id"])
        wait_until(last, timeout_s=30, what="all answers are kept")

        settings = ("--set", "training.epochs=2", "--set", "scaling.workers=1")
        learned = ("--data", "feedback:digits@1", "--init-from", "digits@1")
        home.cli("train", "jobs/train_digits.yaml", *learned, *settings, RAYMAAS_URL=home.plan().url)
        version = client.models.get("digits").newest
        lineage = home.cli("models", "lineage", f"digits@{version}", RAYMAAS_URL=home.plan().url).stdout
        assert "feedback" in lineage

        client.deploy(f"digits@{version}", timeout_s=120)
        keeps_all(client, store, version)
        other = slice(_ROWS, _ROWS + 60)
        items = ask(client, f"digits@{version}", rows[other], labels[other])
        client.feedback.give_many("digits", items)
        last = partial(kept, store, version, items[-1]["request_id"])
        wait_until(last, timeout_s=30, what="all answers are kept")
        found = client.feedback.compare("digits@1", f"digits@{version}", since=since)
        assert (found.first.judged, found.second.judged) == (_ROWS, 60)
        assert found.second.metric is not None
        assert found.second.metric.value > 0.8
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
    """And a canary that no rule hides is found: the search works."""
    with home.client() as client:
        for masks, found in (({"in.x": "drop", "label": "drop"}, False), ({}, True)):
            client.sampling.set("digits", {"rate": 1, "masks": masks})
            keeps_all(client, store, 1)
            row = np.full((1, 64), CANARY, np.float32)
            answer = client.model("digits@1").predict(row)
            client.feedback.give(answer, label="canary-of-nobody", reward=1)
            wait_until(partial(kept, store, 1, answer.request_id), timeout_s=30, what="it is kept")
            written = all_that_was_written(store)
            needles = (b"canary-of-nobody", b"13.3713", np.float32(CANARY).tobytes())
            assert [needle for needle in needles if needle in written] == (list(needles) if found else [])
        client.sampling.remove("digits")


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
