"""What the tests of evaluate jobs share: small real versions, trained in this process and not on Ray."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from local_training import fit_here, without_graphs

from raymaas.jobs import train as training
from raymaas.jobs.parts import JobParts
from raymaas.registry.runs import Runs
from raymaas.registry.versions import Versions
from raymaas.specs.jobs import TrainJob
from raymaas.specs.versions import ModelVersion
from raymaas.store import Store

DIGITS = {
    "model": "digits",
    "data": {"use": "digits"},
    "architecture": {"use": "logistic", "config": {"input_scale": 0.0625}},
    "training": {"epochs": 3, "learning_rate": 0.01, "keep": "last"},
}


def parts(store: Store, run_id: str = "run-1", *, said: list[str] | None = None) -> JobParts:
    return JobParts(
        store=store,
        versions=Versions(store),
        runs=Runs(store),
        run_id=run_id,
        say=(said if said is not None else []).append,
        on_trial=lambda trial: None,
    )


def trained(store: Store, job: Mapping[str, Any], run_id: str) -> ModelVersion:
    """The version that a training of `job` publishes, for torch; only the fit is done here, and no report is drawn."""

    with pytest.MonkeyPatch.context() as patch:
        fit_here(patch, store)
        patch.setattr(training, "keep_report", lambda trained, parts: None)
        without_graphs(patch)
        return training.train(TrainJob.parse(job, source="job"), parts(store, run_id))


def table(path: Path, rows: int = 300) -> dict[str, Any]:
    """A job on a CSV file: two numbers, one of them sometimes missing, a town, and a label that both numbers tell."""
    draw = np.random.default_rng(0)
    age_N, income_N = draw.normal(40, 10, rows), draw.normal(3, 1, rows)
    left_N = (age_N - 40) / 10 + (income_N - 3) + draw.normal(0, 0.3, rows) > 0
    lines = ["age,income,town,patient,left"]
    for n in range(rows):
        age = "" if n % 17 == 0 else f"{age_N[n]:.2f}"
        town = ("north", "south")[n % 2]
        lines.append(f"{age},{income_N[n]:.3f},{town},p{n // 3},{('no', 'yes')[int(left_N[n])]}")
    path.write_text("\n".join(lines) + "\n")
    return {
        "model": "churn",
        "data": {
            "use": "csv",
            "config": {"path": str(path), "label": "left", "keep": ["patient"], "name": "people"},
        },
        "transforms": [{"use": "impute"}, {"use": "one_hot"}, {"use": "standardize"}],
        "architecture": {"use": "logistic"},
        "training": {"epochs": 30, "learning_rate": 0.05, "keep": "last"},
    }
