"""WeightsImport: register weights that were trained elsewhere, evaluated on a data set as a training would be."""

from __future__ import annotations

from pydantic import Field

from raymaas.specs.base import Document, Spec
from raymaas.specs.cards import Card
from raymaas.specs.jobs import Component, Split
from raymaas.specs.names import Name


class WeightsFile(Spec):
    """The file the weights were in. Its bytes are not kept, the weights are."""

    name: str
    bytes: int = Field(ge=0)
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")


class WeightsImport(Document):
    """What a version from foreign weights was made of: stands in its lineage where a job would."""

    kind = "import-weights"

    model: Name = Field(description="The model this becomes a new version of.")
    weights: WeightsFile
    architecture: Component = Field(description="The network, from the catalogue.")
    data: Component = Field(description="The data set it takes, for classes, evaluation and probes.")
    split: Split = Field(default=Split(), description="Its test rows are the ones it is evaluated on.")
    transforms: tuple[Component, ...] = Field(
        (),
        description="What makes numbers of raw columns, fitted on the training rows of the split: those that the "
        "weights were trained with, on the same rows.",
    )
    description: str = Field("", description="Kept with the version.")
    card: Card | None = Field(default=None, description="What you say of the version.")
