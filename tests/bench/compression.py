"""How fast weights of 8 bits serve: rows a second beside the same network at full precision, and what that costs.

Networks of the job files, trained on MNIST for one epoch, their weights then rounded to 8 bits without any
training. Every runtime is judged on the 5,000 validation rows, and timed in turns with the network at full precision
in its own runtimes: one thread, batches of 64, so ratios are of the same moments.
"""

from __future__ import annotations

import os
import time
from datetime import UTC, datetime
from pathlib import Path

import pytest
import torch
from local_training import fit_here, trained

from raymaas.bundle.rmz.container import write
from raymaas.client.jobfile import read_job
from raymaas.compress.recipe import carry_out
from raymaas.compress.subject import Subject
from raymaas.jobs.computing import computed
from raymaas.jobs.ground import parent_of
from raymaas.jobs.judging import Subject as Judged
from raymaas.jobs.origin import rows_of_version
from raymaas.jobs.recipes import on_validation_rows
from raymaas.registry.versions import Versions
from raymaas.settings import load_settings
from raymaas.specs.accounting import BATCH, RuntimeFinding
from raymaas.specs.compression import (
    VALIDATION,
    FineTuning,
    Gate,
    default_recipe,
    known_good,
    settled,
    space_of,
)
from raymaas.specs.jobs import Component
from raymaas.specs.versions import ModelVersion
from raymaas.store import MemoryStore
from raymaas.wiring import data_files

JOBS = Path(__file__).parents[2] / "jobs"
NETWORKS = ("mlp1024", "cnn_small", "resnet", "transformer")
EIGHT_BITS = Component(use="quantize", config={"bits": 8, "epochs": 0})
ANYTHING = Gate(metric="accuracy", max_loss=1)


def main() -> None:
    print(f"torch {torch.__version__}, one thread, batches of {BATCH}; the time of a batch is a median")
    cost("lenet300")
    for name in NETWORKS:
        report(name)


def cost(name: str) -> None:
    """CPU seconds of one recipe of the default search, with its usual epochs."""
    store, parent = trained_quickly(name)
    versions, rows = Versions(store), rows_of_version(store, parent)
    subject = Subject.of(parent_of(versions, parent), rows.train, FineTuning(), seed=0)
    recipe = settled(default_recipe(), known_good(space_of(default_recipe()))[-1])
    begun = time.process_time()
    made = carry_out(recipe, subject)
    coded = write(subject.architecture, made.tensors)
    print(f"{name}: a trial takes {time.process_time() - begun:.1f} CPU seconds, {len(coded):,} bytes")


def trained_quickly(name: str) -> tuple[MemoryStore, ModelVersion]:
    """A version that its job makes in one epoch, in a store of its own."""
    torch.set_num_threads(1)
    files = data_files(load_settings(os.environ))
    store = MemoryStore(lambda: datetime.now(UTC))
    job = read_job(JOBS / f"train_mnist_{name}.yaml").model_dump(mode="json", exclude_unset=True)
    job["training"] |= {"epochs": 1, "augment": [], "schedule": {"use": "constant"}}
    with pytest.MonkeyPatch.context() as patch:
        fit_here(patch, store, files=files)
        return store, trained(store, job, files=files)


def report(name: str) -> None:
    store, parent = trained_quickly(name)
    versions, rows = Versions(store), rows_of_version(store, parent)
    subject = Subject.of(parent_of(versions, parent), rows.train, FineTuning(), seed=0)
    made = carry_out([EIGHT_BITS], subject)
    coded = write(subject.architecture, made.tensors)
    reached = on_validation_rows(Judged.of_version(versions, parent), rows)[VALIDATION + "accuracy"]
    found = computed(coded, parent, versions, rows, gate=ANYTHING, reached=reached)
    rates = {finding.runtime: finding.rows_per_s for finding in found.original}
    print(f"\n{name}, {parent.weights_bytes:,} bytes, coded {len(coded):,}; {reached:.2%} of validation rows")
    print(f"{'':<24}{'rows/s':>10}{'x torch':>9}{'x onnx':>8}{'points lost':>13}{'MiB':>6}")
    for finding in found.original:
        print(line(f"original, {finding.runtime}", finding, rates, reached=None))
    for finding in found.findings:
        print(line(finding.runtime, finding, rates, reached=reached))


def line(name: str, finding: RuntimeFinding, rates: dict[str, float], *, reached: float | None) -> str:
    if finding.value is None and reached is not None:
        return f"{name:<24}{finding.reason}"
    lost = "" if reached is None or finding.value is None else f"{100 * (reached - finding.value):.2f}"
    memory = "" if finding.resident_bytes is None else f"{finding.resident_bytes / 2**20:.0f}"
    rate = finding.rows_per_s
    beside = f"{rate / rates['torch']:>9.2f}{rate / rates['onnx']:>8.2f}"
    return f"{name:<24}{rate:>10,.0f}{beside}{lost:>13}{memory:>6}"
