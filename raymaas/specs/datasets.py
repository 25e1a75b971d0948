"""DatasetCard: what a prepared data set holds, readable without opening its rows."""

from __future__ import annotations

import math
from typing import Any, Literal

from pydantic import Field, PositiveInt, model_validator

from raymaas.specs.base import Document, Moment, Spec
from raymaas.specs.names import Name
from raymaas.specs.tasks import Target


class Column(Spec):
    """A named column: one value in each row, or numbers of one shape."""

    name: str = Field(min_length=1)
    type: Literal["number", "text", "time"] = Field(description="time: microseconds since 1970, UTC.")
    shape: tuple[PositiveInt, ...] = Field((), description="Of one row's numbers; [] for a single value.")


class DataPart(Spec):
    """One of several Parquet files that hold the rows of a data set."""

    fingerprint: str = Field(pattern=r"^[0-9a-f]{64}$", description="SHA-256 of its content.")
    rows: int = Field(ge=1)
    bytes: int = Field(ge=1, description="Of its rows in memory, before any transforms.")


class FeedbackOrigin(Spec):
    """Of which answers a data set was made that learns from feedback. Its rows keep the id of each request."""

    model: Name
    versions: tuple[int, ...] = Field(description="Those that answered.")
    requests: int = Field(ge=1)
    first: Moment = Field(description="When the first of them was answered.")
    last: Moment


class DatasetCard(Document):
    """What a prepared data set holds: rows of numbers `x`, or of named columns that a job makes `x` of."""

    kind = "dataset"
    format = 3

    name: Name
    fingerprint: str = Field(pattern=r"^[0-9a-f]{64}$", description="SHA-256 of the content.")
    rows: int = Field(ge=1)
    features: int = Field(ge=0, description="Values in each row's `x`; 0 in a set of named columns.")
    shape: tuple[PositiveInt, ...] = Field(
        description="Of one row's `x`, such as [28, 28]; [features] for vectors, [] in a set of named columns."
    )
    target: Target = Field("classes", description="What there is to learn of each row.")
    classes: tuple[str, ...] = Field((), description="Label of each class index; none for other targets.")
    columns: tuple[Column, ...] = Field((), description="The named columns that are a model's input.")
    kept: tuple[Column, ...] = Field((), description="Columns beside the input, to split or compare rows by.")
    own_parts: dict[Literal["train", "validation", "test"], PositiveInt] = Field(
        default_factory=dict,
        description="Rows in each part of the division the set itself brings; `split: {test: given}` takes it.",
    )

    feedback: FeedbackOrigin | None = Field(
        default=None, description="Of a set made from answers of a model: which. Null: it is no such set."
    )
    parts: tuple[DataPart, ...] = Field(
        (), description="The files of a set that is too large for one, in order of their rows; else []."
    )

    @property
    def part_bytes(self) -> int:
        """What all rows of a set in several parts take in memory, before any transforms."""
        return sum(part.bytes for part in self.parts)

    @classmethod
    def upgraded(cls, body: dict[str, Any], number: int) -> dict[str, Any]:
        """In format 1 every row was a vector; until format 2 every set had classes and no named columns."""
        return body | ({"shape": [body.get("features")]} if number == 1 else {"target": "classes"})

    @model_validator(mode="after")
    def _fits_together(self) -> DatasetCard:
        if math.prod(self.shape) * bool(self.shape) != self.features:
            raise ValueError(f"shape {list(self.shape)} does not hold {self.features} features")
        if bool(self.columns) == bool(self.shape):
            raise ValueError("rows have either a shape or named columns")
        if (self.target == "classes") != (len(self.classes) > 0) or len(self.classes) == 1:
            raise ValueError("a set with classes has at least two, and others have none")
        if self.parts and sum(part.rows for part in self.parts) != self.rows:
            raise ValueError("its parts do not have as many rows as it has")
        return self


class TakenRows(Document):
    """Which data set the settings of a run meant when it first read them, so that it means the same ever after."""

    kind = "taken-rows"

    fingerprint: str = Field(pattern=r"^[0-9a-f]{64}$", description="Of the data set.")
