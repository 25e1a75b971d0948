"""DatasetCard: what a prepared data set holds, readable without opening its rows."""

from __future__ import annotations

import math
from typing import Any, Literal

from pydantic import Field, PositiveInt, model_validator

from raymaas.specs.base import Document
from raymaas.specs.names import Name


class DatasetCard(Document):
    """What a prepared data set holds."""

    kind = "dataset"
    format = 2

    name: Name
    fingerprint: str = Field(pattern=r"^[0-9a-f]{64}$", description="SHA-256 of the content.")
    rows: int = Field(ge=1)
    features: int = Field(ge=1, description="Values in each row's `x`.")
    shape: tuple[PositiveInt, ...] = Field(
        min_length=1, description="Of one row, such as [28, 28]. [features] for vectors."
    )
    classes: tuple[str, ...] = Field(min_length=2, description="Label of each class index.")
    own_parts: dict[Literal["train", "validation", "test"], PositiveInt] = Field(
        default_factory=dict,
        description="Rows in each part of the division the set itself brings; `split: {test: given}` takes it.",
    )

    @classmethod
    def upgraded(cls, body: dict[str, Any], number: int) -> dict[str, Any]:
        """In format 1 every row was a vector."""
        return body | {"shape": [body.get("features")]}

    @model_validator(mode="after")
    def _shape_holds_the_features(self) -> DatasetCard:
        if math.prod(self.shape) != self.features:
            raise ValueError(f"shape {list(self.shape)} does not hold {self.features} features")
        return self
