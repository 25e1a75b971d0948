"""Compute: which artifacts a recipe's result is tried in, and what calibrates those in 8-bit integers.

It moves no weight: `raymaas.jobs.computing` builds the artifacts when the recipe has been carried out.
"""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from raymaas.compress.subject import Subject
from raymaas.specs.accounting import Calibrator
from raymaas.specs.base import Spec
from raymaas.specs.runtimes import RUNTIMES, RuntimeName


class ComputeConfig(Spec):
    """What may serve it."""

    candidates: tuple[RuntimeName, ...] = Field(
        tuple(RUNTIMES),
        min_length=1,
        description="Runtimes to try. Those that pass the gate are timed, and the fastest serves.",
    )
    calibration_rows: int = Field(
        512, ge=1, le=16384, description="Training rows that decide the ranges of 8-bit activations."
    )
    calibration: Calibrator = Field(
        "minmax",
        description="minmax: ranges hold all that was seen; percentile: all but a hundred-thousandth, which is finer.",
    )


class Compute:
    """Changes nothing of the subject."""

    Config: ClassVar[type[ComputeConfig]] = ComputeConfig

    def __init__(self, config: ComputeConfig) -> None:
        self._config = config

    def apply(self, subject: Subject) -> None:
        """What it says is read when the result is built."""
