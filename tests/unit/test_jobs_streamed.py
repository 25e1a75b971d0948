"""Jobs on data that is too large to hold: evaluated block by block with the figures of held rows, or refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from evaluation_examples import parts, trained

from raymaas.errors import InvalidInput
from raymaas.jobs import asked
from raymaas.jobs.compress import compress
from raymaas.jobs.evaluate import evaluate
from raymaas.jobs.sweep import sweep
from raymaas.registry.versions import Versions
from raymaas.specs.compression import CompressJob
from raymaas.specs.evaluating import EvaluateJob
from raymaas.specs.reports import Comparison, VersionFigures
from raymaas.specs.sweeping import SweepJob
from raymaas.store import LocalStore

ROWS, WIDTH = 5_000, 512  # 10 MB as float32, and a quarter of the limit is 8
SMALL = {"memory_mb": 32}


def written(folder: Path) -> dict[str, Any]:
    """A data set of two classes that three of a row's numbers tell apart, with the number of a visit beside."""
    draw = np.random.default_rng(0)
    x_ND = draw.normal(size=(ROWS, WIDTH)).astype(np.float32)
    label = np.where(x_ND[:, :3].sum(axis=1) + draw.normal(size=ROWS) > 0, "up", "down")
    folder.mkdir()
    columns = {
        "x": pa.FixedSizeListArray.from_arrays(pa.array(x_ND.reshape(-1)), WIDTH),
        "label": pa.array(label),
        "visit": pa.array(np.arange(ROWS) // 10),
        "first": pa.array(x_ND[:, 0]),
    }
    pq.write_table(pa.table(columns), folder / "all.parquet")
    config = {"path": str(folder), "name": "big", "label": "label", "keep": ["visit"]}
    return {"use": "parquet", "config": config}


def job(data: dict[str, Any], **further: Any) -> dict[str, Any]:
    return {
        "model": "big",
        "data": data,
        "split": {"validation": 0.05, "test": 0.5},
        "architecture": {"use": "logistic"},
        "training": {"epochs": 1, "batch_size": 512, "learning_rate": 0.01},
        **further,
    }


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return written(tmp_path_factory.mktemp("data") / "rows")


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory, data: dict[str, Any]) -> LocalStore:
    """big@1, whose job held its rows, and big@2, whose job streamed them."""
    store = LocalStore(tmp_path_factory.mktemp("store"))
    trained(store, job(data), "held")
    trained(store, job(data, streaming=SMALL), "streamed")
    return store


@pytest.fixture
def nothing_held(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("open_dataset", "prepare"):
        monkeypatch.setattr(asked, name, lambda *_, **__: pytest.fail("all rows were held"))


def found(store: LocalStore, run_id: str, /, **how: Any) -> Any:
    return evaluate(EvaluateJob.parse({"model": "big", "how": how}, source="job"), parts(store, run_id)).found


def test_a_streamed_training_publishes_the_evaluation_of_one_that_held_its_rows(store: LocalStore) -> None:
    held, streamed = (Versions(store).get("big", number) for number in (1, 2))
    assert streamed.evaluation.rows == ROWS // 2
    assert streamed.evaluation.fingerprint == held.evaluation.fingerprint
    assert streamed.evaluation.confusion == held.evaluation.confusion
    for name, metric in held.evaluation.metrics.items():
        assert streamed.evaluation.metrics[name].value == pytest.approx(metric.value, abs=1e-6)


def test_its_version_is_measured_block_by_block_without_being_told(
    store: LocalStore, nothing_held: None
) -> None:
    measured = found(store, "own", by="data", version="big@2")
    assert isinstance(measured, VersionFigures)
    assert measured.evaluation == Versions(store).get("big", 2).evaluation


def test_slices_and_disturbances_have_the_figures_of_held_rows(
    store: LocalStore, request: pytest.FixtureRequest
) -> None:
    how = {"by": "data", "version": "big@1", "slices": ["class", "visit", "first > 1"], "robustness": True}
    held = found(store, "all-held", **how)
    request.getfixturevalue("nothing_held")
    streamed = found(store, "all-streamed", **how, streaming=SMALL)
    assert [(part.slice, part.rows) for part in streamed.slices] == [
        (part.slice, part.rows) for part in held.slices
    ]
    assert len(streamed.slices) == 2 + 4 + 2
    for ours, theirs in zip(streamed.slices, held.slices, strict=True):
        assert ours.metrics["accuracy"].value == pytest.approx(theirs.metrics["accuracy"].value, abs=1e-3)
    assert len(streamed.robustness) == 6
    for one, other in zip(streamed.robustness, held.robustness, strict=True):
        assert (one.disturbance, one.severity) == (other.disturbance, other.severity)
        assert one.figure.value == pytest.approx(other.figure.value, abs=1e-3)


def test_another_data_set_is_read_block_by_block_when_asked_for(
    store: LocalStore, data: dict[str, Any], nothing_held: None
) -> None:
    named = {"use": "parquet", "config": {**data["config"], "name": "again"}}
    measured = found(store, "other", by="data", version="big@1", data=named, streaming=SMALL, part="all")
    assert measured.evaluation.rows == ROWS
    assert "those it was trained on" in measured.notes[0]


def test_two_versions_are_compared_block_by_block(store: LocalStore, nothing_held: None) -> None:
    compared = found(store, "both", by="comparison", version="big@1", other="big@2", streaming=SMALL)
    assert isinstance(compared, Comparison)
    assert compared.rows == ROWS // 2
    assert compared.differences["accuracy"].value == 0


def test_what_does_not_fit_is_said_before_anything_is_asked(store: LocalStore, nothing_held: None) -> None:
    said: list[str] = []
    how = {"by": "data", "version": "big@2", "slices": ["town"]}
    job = EvaluateJob.parse({"model": "big", "how": how}, source="job")
    with pytest.raises(InvalidInput, match="no column 'town' to slice by; there are class, first, visit, x"):
        evaluate(job, parts(store, "unfit", said=said))
    assert not [line for line in said if line.startswith("asking")]


def test_what_holds_all_rows_refuses_to_stream_them(store: LocalStore, data: dict[str, Any]) -> None:
    recipe = {"model": "big", "parent": "big@2", "recipe": [{"use": "prune", "config": {"sparsity": 0.5}}]}
    with pytest.raises(
        InvalidInput, match=r"big@2 was trained on rows that were streamed, .* with init_from"
    ):
        compress(CompressJob.parse(recipe, source="job"), parts(store, "c"))
    streaming = job(data, streaming=SMALL)
    with pytest.raises(InvalidInput, match=r"'big' is streamed, and folds hold all rows .* raise streaming"):
        found(store, "f", by="folds", job=streaming, folds=2)
    search = {"job": streaming, "fields": {"training.learning_rate": {"choice": [0.1, 0.01]}}}
    with pytest.raises(InvalidInput, match="'big' is streamed, and the trials of a sweep hold all rows"):
        sweep(SweepJob.parse(search, source="job"), parts(store, "s"))
