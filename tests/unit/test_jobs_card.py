"""The jobs record the card they were given; a compression without one keeps its parent's.

Only what Ray does is done here in this process: the fit, and the trials of the search.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from local_training import fit_here, without_graphs

from raymaas.client.jobfile import read_job
from raymaas.jobs import compress as compressing
from raymaas.jobs import train as training
from raymaas.jobs.parts import JobParts
from raymaas.registry.blobs import Blobs
from raymaas.registry.card import render
from raymaas.registry.runs import Runs
from raymaas.registry.versions import Versions
from raymaas.specs.cards import Card
from raymaas.specs.compression import CompressJob
from raymaas.specs.jobs import TrainJob
from raymaas.specs.runs import RunSpec
from raymaas.specs.search import Finished, Trial
from raymaas.store import LocalStore, Store
from raymaas.sweep.search import Report

CARD = Card(licence="CC-BY-4.0", intended_use="Testing.", limits=("Hardly trained.",))
TRAIN = {
    "model": "digits",
    "data": {"use": "digits"},
    "architecture": {"use": "mlp", "config": {"hidden": [8], "input_scale": 0.0625}},
    "training": {"epochs": 1},
}
COMPRESS = {
    "model": "digits",
    "recipe": [
        {"use": "quantize", "config": {"bits": 6, "epochs": 1}},
        {"use": "compute", "config": {"candidates": ["torch"]}},
    ],
    "max_loss": 100,
}


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    store = LocalStore(tmp_path)

    def search_here(trial: Any, *_: Any, shared: Any, **__: Any) -> tuple[Trial, ...]:
        reports: list[Report] = []
        trial({}, shared, reports.append)
        files = {name: Blobs(store).put(data, name=name) for name, data in reports[-1].files.items()}
        outcome = Finished(metrics=dict(reports[-1].metrics), files=files, reports=1, seconds=1.0)
        return (Trial(run_id="c", trial="t-1", point={}, outcome=outcome),)

    fit_here(monkeypatch, store)
    without_graphs(monkeypatch)
    monkeypatch.setattr(compressing, "search", search_here)
    return store


def parts(store: Store, run_id: str, job: CompressJob | None = None) -> JobParts:
    runs = Runs(store)
    if job is not None:
        runs.create(RunSpec(run_id=run_id, job=job, who="test", created_at=store.now()))
    return JobParts(
        store=store,
        versions=Versions(store),
        runs=runs,
        run_id=run_id,
        say=lambda sentence: None,
        on_trial=lambda trial: None,
    )


def test_a_card_goes_from_the_job_into_the_version_and_on_to_what_is_made_from_it(store: Store) -> None:
    trained = training.train(TrainJob.parse(TRAIN | {"card": CARD}, source="job"), parts(store, "t"))
    assert trained.card == CARD
    job = CompressJob.parse(COMPRESS, source="job")
    (inherited,) = compressing.compress(job, parts(store, "c1", job))
    assert inherited.card == CARD
    assert "- Hardly trained." in render(inherited)
    assert f"take {trained.weights_bytes:,}: 1/" in render(inherited)
    own = {"parent": "digits@1", "card": {"limits": ["Smaller."]}}
    job = CompressJob.parse(COMPRESS | own, source="job")
    (given,) = compressing.compress(job, parts(store, "c2", job))
    assert given.card == Card(limits=("Smaller.",)), "it is replaced whole"


ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    "path",
    [
        *sorted(ROOT.glob("jobs/train_*.yaml")),
        *sorted(ROOT.glob("jobs/compress_*.yaml")),
        ROOT / "raymaas/templates/train.yaml",
    ],
    ids=lambda path: path.stem,
)
def test_the_jobs_that_come_with_raymaas_carry_a_whole_card(path: Path) -> None:
    card = read_job(path).card
    assert card is not None
    assert all(card.gives(field) for field in ("licence", "intended_use", "data_sources", "limits"))
