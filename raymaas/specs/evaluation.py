"""Evaluation documents: what was measured, on which rows, with which uncertainty."""

from __future__ import annotations

from pydantic import Field

from raymaas.specs.base import Spec


class Metric(Spec):
    """One figure with its confidence interval."""

    value: float
    low: float = Field(description="Lower end of the interval.")
    high: float = Field(description="Upper end of the interval.")
    confidence: float = Field(0.95, gt=0, lt=1)
    method: str = Field(description="How the interval was made, e.g. 'wilson'.")


class Evaluation(Spec):
    """A version's metrics on held-out rows. Per-row correctness lies beside it, in the version's files."""

    dataset: str
    fingerprint: str = Field(description="Fingerprint of data and split together.")
    part: str = Field("test", description="Which part of the split was used.")
    rows: int = Field(ge=1)
    runtime: str = Field(description="The runtime that gave the answers, e.g. 'onnx'.")
    metrics: dict[str, Metric]
