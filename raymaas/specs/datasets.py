"""DatasetCard: what a prepared data set holds, readable without opening its rows."""

from __future__ import annotations

from pydantic import Field

from raymaas.specs.base import Document
from raymaas.specs.names import Name


class DatasetCard(Document):
    """What a prepared data set holds."""

    kind = "dataset"

    name: Name
    fingerprint: str = Field(pattern=r"^[0-9a-f]{64}$", description="SHA-256 of the content.")
    rows: int = Field(ge=1)
    features: int = Field(ge=1, description="Values in each row's `x`.")
    classes: tuple[str, ...] = Field(min_length=2, description="Label of each class index.")
