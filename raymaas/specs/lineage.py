"""Lineage documents: where a version came from, what became of it, and what was made from a data set."""

from __future__ import annotations

from pydantic import Field

from raymaas.specs.api import HistoryEntry
from raymaas.specs.base import Moment, Spec
from raymaas.specs.datasets import DatasetCard
from raymaas.specs.evaluation import Metric
from raymaas.specs.jobs import Component
from raymaas.specs.names import AliasName, Name
from raymaas.specs.requests import RequestRecord
from raymaas.specs.runs import Run
from raymaas.specs.search import Trial
from raymaas.specs.serving import Deletion, Scaling
from raymaas.specs.versions import ModelVersion


class DataOrigin(Spec):
    """The rows something was made from."""

    dataset: str
    fingerprint: str = Field(description="SHA-256 of the content.")
    card: DatasetCard | None = Field(description="What is in it; null when this store does not have it.")


class Generation(Spec):
    """One version of a line: its manifest says job, code, libraries, recipe and figures; the rest lies beside it."""

    manifest: ModelVersion
    deletion: Deletion | None = Field(description="Who deleted it, when and why.")
    data: DataOrigin
    run: Run | None = Field(description="The run that made it; null when this store has no record of it.")
    trial: Trial | None = Field(description="Of a compressed version: the trial that was chosen.")


class Standing(Spec):
    """A time in which what was wanted of one version did not change."""

    since: HistoryEntry = Field(description="The move that began it: who, when and why.")
    until: HistoryEntry | None = Field(description="The move that ended it; null: it holds still.")
    scaling: Scaling | None = Field(description="How it was deployed; null: only an alias pointed at it.")
    weight: int = Field(description="Percent of the model's unpinned requests.")
    aliases: tuple[AliasName, ...] = Field(description="Aliases that pointed at it.")


class Descendant(Spec):
    """A version in one line, as somebody finds it who looks down from its data or its parent."""

    model: Name
    version: int = Field(ge=1)
    created_at: Moment
    run_id: Name
    dataset: str
    data_fingerprint: str
    parent: int | None = Field(description="The version it was made from; null: from the data alone.")
    recipe: tuple[Component, ...] = Field(description="Of a compressed version: how.")
    architecture: str
    weights_bytes: int
    metrics: dict[str, Metric]
    deletion: Deletion | None


class VersionTrace(Spec):
    """All that is known of one version, from its data to what it answered."""

    line: tuple[Generation, ...] = Field(
        min_length=1, description="From the version that was trained on the data down to the one asked about."
    )
    standings: tuple[Standing, ...] = Field(
        description="Where it was wanted, and when: deployments, weights and aliases, oldest first."
    )
    children: tuple[Descendant, ...] = Field(description="Versions made from it, newest first; at most 100.")
    request: RequestRecord | None = Field(description="The request that was asked about.")
    learned: tuple[Descendant, ...] = Field(
        (), description="Versions that learned from that request, by feedback."
    )


class DataTrace(Spec):
    """One page of the versions that came from a data set, those made from it through other versions too."""

    fingerprint: str
    datasets: tuple[DataOrigin, ...] = Field(description="The names this content was used under.")
    versions: tuple[Descendant, ...] = Field(description="By model, the newest of each first.")
    next_after: str | None = Field(description="`after` of the next page; null on the last.")
