"""Tasks: what a model is for, which decides its loss, what it answers and how it is evaluated."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

Task = Literal["classification", "regression", "language", "density", "adversarial"]
"""A label; a number; the next byte; how likely a row is; rows that look real."""

Target = Literal["classes", "number", "none"]
"""What a data set has for each row to learn: a label, a number, or nothing but the row itself."""

TARGETS: Mapping[Task, Target] = {"classification": "classes", "regression": "number"}
"""What a data set must have for a model of that task to learn from it; any other task takes every data set."""
