"""ModelVersion: the create-only manifest whose appearance in the store IS the publication of a version."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, JsonValue

from raymaas.specs.accounting import Accounting
from raymaas.specs.base import Document, Moment, Spec
from raymaas.specs.cards import Card
from raymaas.specs.evaluation import Evaluation
from raymaas.specs.jobs import Component
from raymaas.specs.names import Name
from raymaas.specs.selecting import Selection
from raymaas.specs.tasks import Task

DType = Literal["BOOL", "UINT8", "INT32", "INT64", "FP32", "FP64", "BYTES"]


class TensorSpec(Spec):
    """One named tensor, in the words of the Open Inference Protocol v2; -1 is a variable dimension."""

    name: str
    dtype: DType
    shape: tuple[int, ...] = Field(description="First dimension is the batch, always -1.")
    default: int | float | None = Field(
        default=None, description="Of an input that may be left out: its value in every row."
    )
    nullable: bool = Field(False, description="Whether null may stand where a value is missing.")
    low: int | float | None = Field(default=None, description="Least value an input may hold; null: any.")
    high: int | float | None = Field(default=None, description="Greatest value an input may hold; null: any.")


class Signature(Spec):
    """What a version takes and gives."""

    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    classes: tuple[str, ...] = Field((), description="Label of each class index, for a classifier.")


class CodeVersion(Spec):
    """Which code made a version."""

    raymaas: str
    source_sha256: str = Field(description="Digest of the raymaas sources that ran.")
    commit: str | None = Field(
        default=None, description="Git commit of the working directory, when there is one."
    )


class CompressionLineage(Spec):
    """How a compressed version was made, and against what its size and accuracy are measured."""

    recipe: tuple[Component, ...] = Field(
        description="The passes with the settings of the trial that was chosen."
    )
    trial: Name
    original: int = Field(description="The version trained at full precision, up the line of parents.")
    original_bytes: int = Field(description="Bytes of that version's weights file.")
    parent_evaluation: Evaluation = Field(
        description="The parent on the same rows, in the same runtime or the most like it of its own."
    )
    accounting: Accounting | None = Field(
        default=None, description="What the file takes, part by part; absent of older versions."
    )
    selection: Selection | None = Field(
        default=None,
        description="How it was chosen, and when it met the test rows; absent of older versions.",
    )


class ImportedFrom(Spec):
    """Where a version was published first, when it was brought in from a folder or another store."""

    origin: str = Field(description="URL of the folder or store it was read from, without credentials.")
    manifest: dict[str, JsonValue] = Field(
        description="The sealed document of its first publication; the numbers in it are of that registry."
    )


class Lineage(Spec):
    """Where a version came from."""

    run_id: Name
    dataset: str
    data_fingerprint: str
    job: dict[str, JsonValue] = Field(description="The job document that made it.")
    job_sha256: str
    code: CodeVersion
    libraries: dict[str, str] = Field(description="Library name to version, as imported.")
    seed: int
    parent: int | None = Field(default=None, description="The version this one was made from.")
    parent_digest: str | None = Field(
        default=None, description="Digest of the parent's first manifest: names it in every registry."
    )
    init_from: str | None = Field(
        default=None,
        description="The version, maybe of another model, whose weights a training started from.",
    )
    compression: CompressionLineage | None = Field(default=None, description="For a compressed version.")
    imported: ImportedFrom | None = Field(
        default=None,
        description="For a version brought in; `parent` and `compression` are given if the parent is here too.",
    )


class FileEntry(Spec):
    """One file of a version: its bytes live at blobs/sha256/<sha256>/<copy_id>."""

    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    bytes: int = Field(ge=0)
    copy_id: str = Field(
        pattern=r"^[0-9]{17}-[0-9a-f]{16}$",
        description="Which copy: when its upload began, and a random word.",
    )


class ModelVersion(Document):
    """An immutable, numbered artifact of a model."""

    kind = "model-version"

    model: Name
    version: int = Field(ge=1)
    created_at: Moment
    run_id: Name
    part: Name | None = Field(
        default=None, description="Which of its run's further versions; null for the first, or the only one."
    )
    write_id: str = Field(description="Random; tells one's own write from another's after a lost reply.")
    architecture: Component
    signature: Signature
    task: Task = Field("classification", description="What it is for; says how it is evaluated.")
    methods: dict[Name, Signature] = Field(
        default_factory=dict, description="What it answers besides `infer`, such as `sample`, by name."
    )
    files: dict[str, FileEntry] = Field(description="weights, graph, probes; see raymaas.bundle.format.")
    weights_file: str = Field("model.safetensors", description="Which of `files` holds the weights.")
    runtimes: tuple[str, ...] = Field(description="Runtimes this version can be served with, best first.")
    notes: tuple[str, ...] = Field((), description="What its maker could not do, e.g. why there is no graph.")
    evaluation: Evaluation
    lineage: Lineage
    description: str = ""
    card: Card | None = Field(
        default=None, description="What its maker says of it; null when nothing was said."
    )

    @property
    def weights_bytes(self) -> int:
        return self.files[self.weights_file].bytes
