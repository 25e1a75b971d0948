"""Drift: what a version's inputs and predictions looked like when it was made, look like live, and how these differ."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from raymaas.specs.base import Document, Moment, Spec
from raymaas.specs.names import Name

Take = Literal["number", "mean", "deviation", "zeros", "length", "word", "class", "confidence"]
"""What is looked at of a row of a tensor: one number of it, mean or deviation or share of zeros of all its numbers,
the length of a text, the text itself, or of probabilities the likeliest class or how likely that is."""

Source = Literal["input", "prediction"]
Verdict = Literal["steady", "shifting", "drifted", "unknown"]
REFERENCE_FILE = "reference.json"
"""What a version's reference is called among its files."""

_CATEGORIES = ("word", "class")


class Feature(Spec):
    """One thing that rows are looked at by, its bins, and how many rows of the reference are in each."""

    name: str = Field(description="For people: `age`, `x[3,5]`, `mean of x`, `predicted class`.")
    source: Source
    tensor: str
    take: Take
    column: int = Field(0, ge=0, description="Which number of a row, flattened; only of `number`.")
    edges: tuple[float, ...] = Field(
        (), description="Of numbers: a bin ends with each, itself included, and the last has no end."
    )
    labels: tuple[str, ...] = Field((), description="Of categories: a bin for each, then one for all others.")
    counts: tuple[int, ...] = Field(description="Rows in each bin, then rows without a value.")

    @model_validator(mode="after")
    def _one_count_for_each_bin(self) -> Feature:
        if len(self.counts) != self.bins + 1:
            raise ValueError(f"{self.name} has {self.bins} bins and must have one count more")
        if min(self.counts) < 0 or list(self.edges) != sorted(set(self.edges)):
            raise ValueError(f"{self.name}: counts may not be negative, and edges must ascend")
        return self

    @property
    def is_category(self) -> bool:
        return self.take in _CATEGORIES

    @property
    def bins(self) -> int:
        return len(self.labels if self.is_category else self.edges) + 1


class Reference(Document):
    """How the rows looked that a version was evaluated on, and its predictions for them. It holds no rows."""

    kind = "drift-reference"

    rows: int = Field(ge=1)
    features: tuple[Feature, ...]
    left_out: int = Field(0, ge=0, description="Numbers of a row that are looked at only in sums over it.")


class DriftCounts(Document):
    """How many live rows fell into each bin of a version's reference, counted by one replica for some time."""

    kind = "drift-counts"

    model: Name
    version: int = Field(ge=1)
    replica: Name
    reference: str = Field(pattern=r"^[0-9a-f]{64}$", description="SHA-256 of the reference file.")
    since: Moment
    until: Moment
    rows: int = Field(ge=1, description="Rows that were counted; of many, some.")
    counts: tuple[tuple[int, ...], ...] = Field(description="Of each feature, as in the reference.")


class FeatureDrift(Spec):
    """How far live rows are from the reference in one feature."""

    name: str
    source: Source
    psi: float = Field(description="Population stability index: 0 is none, 0.1 some, 0.25 much.")
    test: Literal["kolmogorov-smirnov", "chi-square"]
    statistic: float
    p: float = Field(description="How likely at least so much is by chance.")
    p_adjusted: float = Field(description="The same, corrected for the number of features.")
    missing: float = Field(description="Share of live rows without a value.")
    missing_before: float = Field(description="The same of the reference.")
    verdict: Verdict


class DriftReport(Spec):
    """How far what a version was asked and answered lately is from what it was evaluated on."""

    model: Name
    version: int
    since: Moment
    until: Moment
    reference_rows: int
    rows: int = Field(description="Live rows that were counted.")
    verdict: Verdict
    psi: float = Field(description="That of the feature that is furthest.")
    features: tuple[FeatureDrift, ...] = Field(description="The furthest first.")
    left_out: int = Field(0, ge=0, description="Numbers of a row that are looked at only in sums over it.")
