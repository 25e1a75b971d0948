"""Training jobs carried out whole in this process: only what Ray Train does is replaced, by the plain loop."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from raymaas.bundle import format
from raymaas.data.sources.base import DataFiles
from raymaas.jobs import train as training
from raymaas.jobs.parts import JobParts
from raymaas.jobs.preparing import prepared
from raymaas.registry.runs import Runs
from raymaas.registry.versions import Versions
from raymaas.specs.jobs import TrainJob
from raymaas.specs.names import new_run_id
from raymaas.specs.versions import ModelVersion
from raymaas.store import Store
from raymaas.train.checkpoint import Checkpoint
from raymaas.train.loop import fit
from raymaas.train.world import World

NO_FILES = DataFiles()


def fit_here(monkeypatch: pytest.MonkeyPatch, store: Store, *, files: DataFiles = NO_FILES) -> None:
    """Let jobs train in this process instead of on Ray's workers, and hold the rows that those would stream."""

    def fitted(job: TrainJob, **_: Any) -> Checkpoint:
        ready = prepared(job.model_copy(update={"streaming": None}), store, files)
        return fit(ready.start, job.training, parts=ready.rows, world=World.single())

    monkeypatch.setattr(training, "train_distributed", fitted)


def without_graphs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let versions be for torch alone: to export a graph takes seconds."""

    def cannot_export(*_: Any, **__: Any) -> bytes:
        raise RuntimeError("not wanted here")

    monkeypatch.setattr(format, "export_onnx", cannot_export)


def trained(
    store: Store,
    fields: Mapping[str, Any],
    *,
    said: list[str] | None = None,
    files: DataFiles = NO_FILES,
) -> ModelVersion:
    """The version that a job of those fields makes; what it says goes into `said`."""
    job = TrainJob.parse(dict(fields), source="job")
    parts = JobParts(
        store=store,
        versions=Versions(store),
        runs=Runs(store),
        run_id=new_run_id("train", job.model),
        say=(said if said is not None else []).append,
        on_trial=lambda trial: None,
        files=files,
    )
    return training.train(job, parts)
