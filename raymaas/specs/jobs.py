"""Job documents: what a user writes in YAML and submits. `raymaas schema train` prints their JSON schema."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, JsonValue, model_validator

from raymaas.specs.base import Document, Spec
from raymaas.specs.cards import Card
from raymaas.specs.names import Name


class Component(Spec):
    """A thing taken from a catalogue by name, with its own settings."""

    use: str = Field(description="Name in the catalogue, e.g. 'mlp'.")
    config: dict[str, JsonValue] = Field(default_factory=dict, description="Settings of that thing.")


class Split(Spec):
    """How rows are divided; the rest after validation and test is for training."""

    validation: float = Field(0.15, gt=0, lt=1, description="Share of rows for early stopping and selection.")
    test: float = Field(0.2, gt=0, lt=1, description="Share of rows held out for the final evaluation.")
    stratify: bool = Field(True, description="Keep the class shares equal in all parts.")
    seed: int = Field(0, ge=0, description="Seed of the shuffle.")

    @model_validator(mode="after")
    def _rows_left_to_train_on(self) -> Split:
        if self.validation + self.test >= 1:
            raise ValueError("validation + test must leave rows to train on (be less than 1)")
        return self


class EarlyStopping(Spec):
    """Stop when the validation loss has not improved for `patience` epochs; the best epoch's weights are kept."""

    patience: int = Field(8, ge=1, description="Epochs without improvement before stopping.")
    min_delta: float = Field(0.0, ge=0, description="Least decrease of the loss that counts as improvement.")


class Training(Spec):
    """The optimisation: everything the loop needs besides model and data."""

    epochs: int = Field(20, ge=1, description="Passes over the training rows, at most.")
    batch_size: int = Field(64, ge=1, description="Rows per optimizer step over ALL workers together.")
    optimizer: Literal["adam", "adamw", "sgd"] = Field("adam", description="Update rule.")
    learning_rate: float = Field(1e-3, gt=0, description="Step size.")
    momentum: float = Field(0.0, ge=0, lt=1, description="Momentum of sgd; ignored by the others.")
    weight_decay: float = Field(0.0, ge=0, description="L2 penalty (adam, sgd) or decoupled decay (adamw).")
    loss: Literal["cross_entropy"] = Field("cross_entropy", description="Training loss.")
    precision: Literal["auto", "fp32", "bf16"] = Field("auto", description="auto: bf16 on GPU, fp32 on CPU.")
    early_stopping: EarlyStopping | None = Field(default=None, description="Absent: run all epochs.")
    checkpoint_every: int = Field(1, ge=1, description="Epochs between checkpoints in the store.")
    seed: int = Field(0, ge=0, description="Seed of initial weights and batch order.")


class Workers(Spec):
    """What Ray Train starts for the run."""

    workers: int = Field(2, ge=1, description="Data-parallel worker processes.")
    threads_per_worker: int = Field(1, ge=1, description="Compute threads each worker may use.")
    cpus_per_worker: float = Field(
        0.5,
        gt=0,
        description="CPUs Ray reserves per worker. Below 1, so two workers and the replicas fit two cores.",
    )
    gpus_per_worker: float = Field(
        0, ge=0, description="GPUs Ray reserves per worker; above 0 trains with nccl."
    )


class TrainJob(Document):
    """Train an architecture on a data set, evaluate it on held-out rows and register it as a version of `model`."""

    kind = "train"

    model: Name = Field(description="The model this becomes a new version of.")
    data: Component = Field(description="Where the rows come from: a built-in data set, e.g. {use: digits}.")
    split: Split = Field(default=Split(), description="Train, validation and test rows.")
    architecture: Component = Field(
        description="The network, from the catalogue, e.g. {use: mlp, config: {hidden: [128]}}."
    )
    training: Training = Field(default=Training(), description="Optimizer, epochs, early stopping.")
    scaling: Workers = Field(default=Workers(), description="Data-parallel workers.")
    description: str = Field("", description="Kept with the version.")
    card: Card | None = Field(
        default=None, description="What you say of the version: licence, intended use, data sources, limits."
    )
