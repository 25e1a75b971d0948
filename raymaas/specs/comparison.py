"""Comparison of runs: what differed in what they were asked, and what came of each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from pydantic import Field, JsonValue

from raymaas.specs.base import Document, Spec
from raymaas.specs.budget import Spent
from raymaas.specs.kinds import job_fields
from raymaas.specs.names import Name
from raymaas.specs.runs import EpochMetrics


class ComparedRun(Spec):
    """One run beside others."""

    run_id: Name
    state: str
    version: str | None = Field(default=None, description="What it registered, as digits@3.")
    settings: dict[str, JsonValue] = Field(
        description="Dotted fields of its job that differ between the runs; null where it does not have one."
    )
    epochs: int = Field(ge=0, description="How many it measured.")
    best_epoch: int | None = Field(
        default=None, ge=1, description="The one with the lowest validation loss, of which are `figures`."
    )
    figures: dict[str, float] = Field(default_factory=dict, description="What its best epoch measured.")
    test: dict[str, float] = Field(
        default_factory=dict, description="What its version measured on test rows."
    )
    spent: Spent | None = Field(
        default=None, description="What it used, itself; null when it is no training."
    )


class RunComparison(Spec):
    """Runs beside each other, in the order they were asked for."""

    runs: tuple[ComparedRun, ...]


def differences(jobs: Sequence[Document]) -> list[dict[str, JsonValue]]:
    """For each job the dotted fields in which the jobs are not all alike, in the order of the jobs' own fields."""
    flat = [dict(_leaves(job_fields(job))) for job in jobs]
    names = dict.fromkeys(name for fields in flat for name in fields)
    differing = [name for name in names if any(f.get(name) != flat[0].get(name) for f in flat)]
    return [{name: fields.get(name) for name in differing} for fields in flat]


def best_epoch(epochs: Sequence[EpochMetrics]) -> EpochMetrics | None:
    """The epoch with the lowest validation loss, the first of equals; None when no epoch says one."""
    judged = [epoch for epoch in epochs if "validation_loss" in epoch.metrics]
    return min(judged, key=lambda epoch: epoch.metrics["validation_loss"], default=None)


def _leaves(value: Mapping[str, JsonValue], prefix: str = "") -> list[tuple[str, JsonValue]]:
    found: list[tuple[str, JsonValue]] = []
    for name, part in value.items():
        if isinstance(part, dict) and part:
            found += _leaves(part, f"{prefix}{name}.")
        else:
            found.append((prefix + name, part))
    return found
