"""Filling in what is missing, with one value for each column."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Literal

import numpy as np
from pydantic import Field, model_validator

from raymaas.data.columns import missing
from raymaas.data.transforms.base import OverColumns, Step
from raymaas.data.transforms.frame import Frame, is_text
from raymaas.errors import InvalidInput

Value = float | str


class Imputed(Step):
    """The value of each column that stands where one is missing."""

    values: Mapping[str, Value]

    def apply(self, frame: Frame) -> Frame:
        filled = {}
        for name, value in self.values.items():
            column = frame.columns[name].copy()
            column[missing(column)] = value
            filled[name] = column
        return frame.with_columns(filled)

    @property
    def fills(self) -> frozenset[str]:
        return frozenset(self.values)


class Impute(OverColumns):
    """Fills in missing values: the mean, median or most frequent value of the training rows, or a constant."""

    strategy: Literal["mean", "median", "most_frequent", "constant"] = Field(
        "mean", description="mean, median: numbers only. Of equally frequent values the least is taken."
    )
    value: Value | None = Field(default=None, description="constant only: a number, or a text for text.")

    @model_validator(mode="after")
    def _value_for_a_constant(self) -> Impute:
        if (self.value is not None) != (self.strategy == "constant"):
            raise ValueError("value and {strategy: constant} go together: give both or none")
        return self

    def fit(self, frame: Frame) -> Imputed:
        names = frame.choose(self.columns, among=self._takes, what=f"single values for {self.strategy}")
        return Imputed(values={name: self._value(name, frame.columns[name]) for name in names})

    def _takes(self, values: np.ndarray) -> bool:
        if values.ndim > 1:
            return False
        match self.strategy:
            case "most_frequent":
                return True
            case "constant":
                return is_text(values) == isinstance(self.value, str)
        return not is_text(values)

    def _value(self, name: str, values: np.ndarray) -> Value:
        if self.value is not None:
            return self.value
        present = values[~missing(values)]
        if not len(present):
            raise InvalidInput(
                f"column {name!r} has no value in any training row; leave it out of features, or use a constant"
            )
        match self.strategy:
            case "mean":
                return float(present.mean(dtype=np.float64))
            case "median":
                return float(np.median(present.astype(np.float64)))
        counts = Counter(present.tolist())
        most: Value = min(counts, key=lambda value: (-counts[value], value))
        return most
