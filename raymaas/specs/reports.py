"""EvaluationReport: what an evaluate job found, kept with its run."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from raymaas.specs.base import Document, Moment, Spec
from raymaas.specs.evaluation import Evaluation, Metric
from raymaas.specs.names import Name


class SliceFigures(Spec):
    """The figures of the rows that have something in common."""

    slice: str = Field(description="What they have in common.")
    rows: int
    metrics: dict[str, Metric]
    warning: str = Field("", description="Why its figures say little, if they do.")


class DisturbedFigures(Spec):
    """The leading figure when something is done to all rows."""

    disturbance: str
    severity: float
    metric: str
    figure: Metric


class VersionFigures(Spec):
    """One version on some rows."""

    by: Literal["data"] = "data"
    version: str
    evaluation: Evaluation
    notes: tuple[str, ...] = Field((), description="What to bear in mind of these rows.")
    slices: tuple[SliceFigures, ...] = ()
    robustness: tuple[DisturbedFigures, ...] = ()


class FoldsFigures(Spec):
    """A recipe by cross-validation; the figures of each fold are the run's trials."""

    by: Literal["folds"] = "folds"
    dataset: str
    fingerprint: str = Field(description="Fingerprint of data and split together, test rows left out of it.")
    rows: int
    folds: int
    repeats: int
    metrics: dict[str, Metric] = Field(description="Means over all folds.")
    deviations: dict[str, float] = Field(description="Standard deviations from fold to fold.")
    notes: tuple[str, ...] = ()


class McNemar(Spec):
    """Whether two classifiers are right equally often: of rows on which one alone is right, which one that is."""

    first_only: int = Field(description="Rows that only the first gets right.")
    second_only: int
    exact_p: float = Field(description="Two-sided binomial test; never too small, often too large.")
    mid_p: float = Field(
        description="The same with half the chance of what was found (Fagerland et al. 2013)."
    )


class Comparison(Spec):
    """Two versions on the same rows."""

    by: Literal["comparison"] = "comparison"
    first: str
    second: str
    dataset: str
    part: str
    rows: int
    source: Literal["recorded", "evaluated"] = Field(
        description="From the files both were published with, or evaluated again for this."
    )
    differences: dict[str, Metric] = Field(description="The second's figure minus the first's.")
    mcnemar: McNemar | None = Field(default=None, description="Of classifiers.")
    verdict: str = Field(description="What it means, in a sentence.")


class SamplesFigures(Spec):
    """What a classifier finds among samples."""

    by: Literal["samples"] = "samples"
    version: str
    judge: str
    samples: int
    seed: int
    found: dict[str, int] = Field(description="Samples by the class the judge answers, in its order.")
    classes_found: int
    entropy: Metric = Field(description="Of that histogram, in nats; ln(classes) at most, for equal shares.")
    probability: Metric = Field(description="Mean probability of the class answered.")


Found = Annotated[VersionFigures | FoldsFigures | Comparison | SamplesFigures, Field(discriminator="by")]


class EvaluationReport(Document):
    """What a run of an evaluate job found."""

    kind = "evaluation-report"

    run_id: Name
    at: Moment
    found: Found
    write_id: str = ""


class RecordedComparison(Spec):
    """The comparison of two versions from what they were published with, or why that does not do."""

    comparison: Comparison | None
    why: str = ""
