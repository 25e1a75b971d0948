"""What a transform is: settings that are fitted to training rows, and the fitted step that any rows then take."""

from __future__ import annotations

from abc import abstractmethod

from pydantic import Field

from raymaas.data.transforms.frame import Frame
from raymaas.specs.base import Spec

ColumnNames = tuple[str, ...] | None


class Step(Spec):
    """A fitted transform. Its fields are JSON and all it needs, so that a version can carry it."""

    @abstractmethod
    def apply(self, frame: Frame) -> Frame:
        """The frame with some columns changed. Raises InvalidInput, naming column and row, for what it cannot take."""

    @property
    def fills(self) -> frozenset[str]:
        """Columns in which values may be missing before this step and are not after it."""
        return frozenset()

    @property
    def vocabulary(self) -> int | None:
        """How many different tokens it makes, if it makes tokens."""
        return None


class Transform(Spec):
    """Settings of one transform. The first line of its docstring is what is said of it to people."""

    @abstractmethod
    def fit(self, frame: Frame) -> Step:
        """What these training rows make of it. Raises InvalidInput for columns it cannot take."""


class OverColumns(Transform):
    """A transform that treats some columns each for itself."""

    columns: ColumnNames = Field(
        default=None, min_length=1, description="Columns to treat; default all that can be."
    )
