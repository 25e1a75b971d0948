"""Evaluation documents: what was measured, on which rows, with which uncertainty."""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import Field

from raymaas.specs.base import Spec

LEADING = ("accuracy", "bits_per_byte", "elbo", "rmse", "accuracy_on_data")
"""The metric to look at first: of an evaluation, the first of these that it has."""

SAMPLE_ERROR = "sample_error"
"""Of a compressed network that makes rows: how far its rows are from its parent's; no evaluation has it."""

LESS_IS_BETTER = frozenset(
    {"log_loss", "calibration_error", "mse", "rmse", "mae", "bits_per_byte", SAMPLE_ERROR}
)
"""Of all other metrics more is better."""

SHARES = frozenset({"accuracy", "precision", "recall", "f1", "roc_auc", "accuracy_on_data"})
"""Metrics from 0 to 1, whose differences are told in points, hundredths; all others are told in their own unit."""


class Metric(Spec):
    """One figure with its confidence interval."""

    value: float
    low: float = Field(description="Lower end of the interval.")
    high: float = Field(description="Upper end of the interval.")
    confidence: float = Field(0.95, gt=0, lt=1)
    method: str = Field(description="How the interval was made, e.g. 'wilson'.")


class ClassFigures(Spec):
    """How well one class is told from the others. Precision is 0 by convention where it was never answered."""

    label: str
    rows: int = Field(ge=0, description="Rows of this class.")
    precision: Metric = Field(description="Of the rows answered with this class, the share that is of it.")
    recall: Metric = Field(description="Of the rows of this class, the share that was answered with it.")
    f1: Metric = Field(description="Harmonic mean of the two.")


class ReliabilityBin(Spec):
    """Rows whose answer was given about the same probability, and how often it was right."""

    above: float = Field(description="The bin begins above this probability.")
    up_to: float
    rows: int = Field(ge=1)
    probability: float = Field(description="Mean probability of the class that was answered.")
    accuracy: float = Field(description="Share of the rows on which it was right.")


class Evaluation(Spec):
    """A version's metrics on held-out rows. What each row came to lies beside it, in the version's files."""

    dataset: str
    fingerprint: str = Field(description="Fingerprint of data and split together.")
    part: str = Field("test", description="Which part of the split was used.")
    rows: int = Field(ge=1)
    runtime: str = Field(description="The runtime that gave the answers, e.g. 'onnx'.")
    metrics: dict[str, Metric]
    classes: tuple[ClassFigures, ...] = Field(
        (), description="Of a classifier, by class; left out of more than 100."
    )
    confusion: tuple[tuple[int, ...], ...] = Field(
        (), description="Rows of class i answered with class j; left out of more than 100 classes."
    )
    reliability: tuple[ReliabilityBin, ...] = Field(
        (), description="Of a classifier, by the probability of its answer; bins without rows are left out."
    )
    baselines: dict[str, dict[str, float]] = Field(
        default_factory=dict, description="What something simple reaches on the same rows, by its name."
    )

    def leading(self) -> tuple[str, Metric]:
        """The metric to look at first, with its name."""
        return leading(self.metrics)


def leading(metrics: Mapping[str, Metric]) -> tuple[str, Metric]:
    """As `Evaluation.leading`, of some metrics; of none that is known to lead, the first by name."""
    name = next((name for name in LEADING if name in metrics), min(metrics))
    return name, metrics[name]
