"""Facts: what is known of the data before a network is built for it."""

from __future__ import annotations

from raymaas.specs.base import Spec
from raymaas.specs.tasks import Target
from raymaas.specs.versions import TensorSpec


class Facts(Spec):
    """What a network takes, and what there is to learn."""

    input: TensorSpec
    classes: tuple[str, ...] = ()
    target: Target = "classes"
    vocabulary: int | None = None

    @property
    def row(self) -> tuple[int, ...]:
        """The shape of one row."""
        return self.input.shape[1:]
