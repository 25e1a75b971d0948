"""Job documents: what a user writes in YAML and submits. `raymaas schema train` prints their JSON schema."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any, Literal

from pydantic import (
    Field,
    JsonValue,
    ValidationError,
    ValidatorFunctionWrapHandler,
    WrapValidator,
    model_validator,
)

from raymaas.specs.augment import Augmentation
from raymaas.specs.base import Document, Spec
from raymaas.specs.budget import Budget
from raymaas.specs.cards import Card
from raymaas.specs.names import Name
from raymaas.specs.rollouts import RolloutPlan
from raymaas.specs.starting import StartWhen


class Component(Spec):
    """A thing taken from a catalogue by name, with its own settings."""

    use: str = Field(description="Name in the catalogue, e.g. 'mlp'.")
    config: dict[str, JsonValue] = Field(default_factory=dict, description="Settings of that thing.")

    @property
    def is_own_code(self) -> bool:
        """Whether it names a class of the user's, as `my_package.net:Net` does, and not one of a catalogue."""
        return ":" in self.use


def _share_or_given(value: Any, parse: ValidatorFunctionWrapHandler) -> Any:
    try:
        return parse(value)
    except ValidationError:
        raise ValueError("must be a share between 0 and 1, or `given` for the data set's own part") from None


PartSize = Annotated[Annotated[float, Field(gt=0, lt=1)] | Literal["given"], WrapValidator(_share_or_given)]


class Split(Spec):
    """How rows are divided; the rest after validation and test is for training.

    A data set may bring a division of its own, as MNIST does: `{test: given}` takes its test rows for that,
    and divides all its others by the shares.
    """

    validation: PartSize = Field(
        0.15, description="Share of all rows for early stopping and selection, or given."
    )
    test: PartSize = Field(0.2, description="Share of all rows held out for the final evaluation, or given.")
    stratify: bool | None = Field(
        default=None,
        description="Keep the class shares equal in all parts. Absent: where there are classes, group and time aside.",
    )
    group: str | None = Field(
        default=None,
        description="Column whose equal values stay in one part, such as the patient that rows are of.",
    )
    time: str | None = Field(
        default=None,
        description="Column to order rows by: training rows come before validation before test rows.",
    )
    seed: int = Field(0, ge=0, description="Seed of the shuffle.")

    @model_validator(mode="after")
    def _rows_left_to_train_on(self) -> Split:
        shares = [part for part in (self.validation, self.test) if part != "given"]
        if sum(shares) >= 1:
            raise ValueError("validation + test must leave rows to train on (be less than 1)")
        return self

    @model_validator(mode="after")
    def _one_way_to_divide(self) -> Split:
        ways = [way for way in ("stratify", "group", "time") if getattr(self, way)]
        if len(ways) > 1:
            raise ValueError(f"{' and '.join(ways)} cannot both decide which rows go together; leave one out")
        return self


class EarlyStopping(Spec):
    """Stop when the validation loss has not improved for `patience` epochs; the best epoch's weights are kept."""

    patience: int = Field(8, ge=1, description="Epochs without improvement before stopping.")
    min_delta: float = Field(0.0, ge=0, description="Least decrease of the loss that counts as improvement.")


class Schedule(Spec):
    """How the learning rate changes from step to step; a function of the step alone."""

    use: Literal["constant", "step", "cosine", "linear"] = Field(
        "constant",
        description="step: times `factor` every `every_epochs`; cosine, linear: down to `final` at the end.",
    )
    warmup_epochs: float = Field(0.0, ge=0, description="Epochs in which the rate rises from 0 at first.")
    every_epochs: int | None = Field(default=None, ge=1, description="step only: epochs between two falls.")
    factor: float | None = Field(
        default=None, gt=0, lt=1, description="step only: what a fall leaves of the rate. Absent: 0.1."
    )
    final: float | None = Field(
        default=None, ge=0, lt=1, description="cosine and linear only: share left at the end. Absent: 0."
    )

    @model_validator(mode="after")
    def _settings_belong_to_the_kind(self) -> Schedule:
        if self.use == "step" and self.every_epochs is None:
            raise ValueError("a step schedule needs every_epochs")
        for name in ("every_epochs", "factor"):
            if self.use != "step" and getattr(self, name) is not None:
                raise ValueError(f"{name} belongs to {{use: step}}; a {self.use} schedule has none")
        if self.use not in ("cosine", "linear") and self.final is not None:
            raise ValueError(
                f"final belongs to {{use: cosine}} and {{use: linear}}; a {self.use} schedule has none"
            )
        return self


Share = Annotated[float, Field(ge=0, lt=1)]
Loss = Literal["auto", "cross_entropy", "bce", "hinge", "mse", "mae", "huber"]


class Training(Spec):
    """The optimisation: everything the loop needs besides model and data.

    It minimises: mean over the rows of class weight * loss, + l1 * sum |w| + l2 / 2 * sum w^2 over the weights w.
    Biases and the scales of norms, whatever has one dimension, are not penalised. Every loss reported is that
    mean, without the penalties.
    """

    epochs: int | None = Field(20, ge=1, description="Passes over the training rows, at most.")
    steps: int | None = Field(
        default=None,
        ge=1,
        description="Optimizer steps, at most; in place of epochs. The last epoch is cut short.",
    )
    batch_size: int = Field(
        64,
        ge=1,
        description="Rows per optimizer step over ALL workers together; lbfgs always takes all rows.",
    )
    accumulate: int = Field(
        1, ge=1, description="Pieces a batch is worked through in, one by one: less memory, the same result."
    )
    optimizer: Literal["adam", "adamw", "sgd", "lbfgs"] = Field(
        "adam",
        description="Update rule. A step of lbfgs is up to 20 iterations on all rows: for convex models.",
    )
    learning_rate: float = Field(1e-3, gt=0, description="Step size; lbfgs finds its own by line search.")
    momentum: float = Field(0.0, ge=0, lt=1, description="Momentum of sgd.")
    betas: tuple[Share, Share] | None = Field(
        default=None, description="adam, adamw: how slowly both averages forget. Absent: [0.9, 0.999]."
    )
    nesterov: bool = Field(False, description="sgd: look ahead along the momentum.")
    weight_decay: float = Field(
        0.0,
        ge=0,
        description="Of all parameters: through the gradient (adam, sgd) or decoupled from it (adamw).",
    )
    schedule: Schedule = Field(default=Schedule(), description="How the learning rate changes.")
    clip_norm: float | None = Field(
        default=None,
        gt=0,
        description="Longest gradient (2-norm over all parameters); longer ones are cut to it.",
    )
    loss: Loss = Field(
        "auto",
        description="auto: cross_entropy for labels, mse for numbers, the network's own where it has one. "
        "hinge, bce: each class against the rest, as a linear SVM does or by logistic loss. mae, huber: numbers.",
    )
    label_smoothing: float = Field(
        0.0, ge=0, lt=1, description="cross_entropy: share of the target spread evenly over all classes."
    )
    class_weights: Literal["balanced"] | tuple[Annotated[float, Field(gt=0)], ...] | None = Field(
        default=None,
        description="Weight of a row by its class, in the classes' order; balanced: rows / (classes * its rows).",
    )
    augment: tuple[Augmentation, ...] = Field(
        (),
        description="What is done to training rows, in order and anew in each epoch: shift, flip, rotate, noise, "
        "erase, such as {use: shift, pixels: 2}. The training loss is that of the new rows, which are also what a "
        "network without labels learns to make. Validation and test rows stay as they are.",
    )
    l1: float = Field(0.0, ge=0, description="Penalty on the absolute values of the weights.")
    l2: float = Field(0.0, ge=0, description="Penalty on half the squares of the weights.")
    precision: Literal["auto", "fp32", "bf16"] = Field(
        "auto", description="auto: bf16 on GPU, fp32 on CPU and for lbfgs."
    )
    early_stopping: EarlyStopping | None = Field(default=None, description="Absent: run all epochs.")
    keep: Literal["best", "last"] = Field(
        "best", description="Weights of the epoch with the lowest validation loss, or of the last one."
    )
    checkpoint_every: int = Field(1, ge=1, description="Epochs between checkpoints in the store.")
    keep_checkpoint_every: int = Field(
        5,
        ge=1,
        description="Keep checkpoints of epochs this divides; the newest two and the best stay anyway.",
    )
    frozen: tuple[str, ...] = Field(
        (), description="Parameters that keep their values, by patterns of their names such as 'hidden.*'."
    )
    seed: int = Field(0, ge=0, description="Seed of initial weights and batch order.")
    deterministic: bool = Field(
        False,
        description="Only algorithms that give the same bits each time; an operation without one fails.",
    )

    @model_validator(mode="before")
    @classmethod
    def _steps_replace_the_default_epochs(cls, fields: Any) -> Any:
        if isinstance(fields, dict) and fields.get("steps") is not None:
            return {"epochs": None} | fields
        return fields

    @model_validator(mode="after")
    def _nothing_contradicts(self) -> Training:
        for refused, sentence in self._contradictions():
            if refused:
                raise ValueError(sentence)
        return self

    def _contradictions(self) -> Iterator[tuple[bool, str]]:
        lbfgs = self.optimizer == "lbfgs"
        yield self.epochs is None and self.steps is None, "nothing says when to stop; give epochs or steps"
        yield (
            self.epochs is not None and self.steps is not None,
            "epochs and steps both say when to stop; leave one out, or make it null",
        )
        yield (
            self.momentum > 0 and self.optimizer != "sgd",
            f"momentum belongs to sgd; leave it out or use sgd in place of {self.optimizer}",
        )
        yield (
            self.betas is not None and self.optimizer not in ("adam", "adamw"),
            f"betas belong to adam and adamw; leave them out with {self.optimizer}",
        )
        yield self.nesterov and self.momentum == 0, "nesterov needs momentum above 0; try 0.9"
        yield (
            self.weight_decay > 0 and self.l2 > 0,
            "weight_decay and l2 both shrink the weights; give one of them",
        )
        yield lbfgs and self.weight_decay > 0, "lbfgs has no weight_decay; use l2"
        yield lbfgs and self.clip_norm is not None, "lbfgs cannot clip gradients; leave clip_norm out"
        yield (
            lbfgs and self.schedule != Schedule(),
            "lbfgs finds its step size by line search; leave schedule out",
        )
        yield lbfgs and self.precision == "bf16", "the line search of lbfgs needs precision fp32"
        yield (
            lbfgs and len(self.augment) > 0,
            "lbfgs learns from how the same rows answer from step to step, and augment makes others of them; leave "
            "augment out, or use another optimizer",
        )
        yield (
            self.label_smoothing > 0 and self.loss not in ("auto", "cross_entropy"),
            f"label_smoothing belongs to cross_entropy; leave it out with {self.loss}",
        )
        yield (
            not lbfgs and self.accumulate > self.batch_size,
            f"accumulate cuts a batch of {self.batch_size} rows in {self.accumulate} pieces; lower it",
        )
        yield (
            self.epochs is not None and self.schedule.warmup_epochs > self.epochs,
            f"schedule.warmup_epochs is longer than all {self.epochs} epochs; shorten it",
        )
        yield (
            self.keep == "last" and self.early_stopping is not None,
            "early_stopping keeps the best weights; leave it out, or keep: best",
        )


Strategy = Literal["ddp", "fsdp", "pipeline"]


class Workers(Spec):
    """What Ray Train starts for the run. The result does not depend on it but for rounding and, unless the training is
    deterministic, for what networks draw by chance, such as dropout.
    """

    workers: int = Field(2, ge=1, description="Worker processes, at most when min_workers is given.")
    min_workers: int | None = Field(
        default=None,
        ge=1,
        description="Start with what the cluster has, and go on with fewer or more. Absent: all workers or none.",
    )
    strategy: Strategy = Field(
        "ddp",
        description="ddp: the whole network on each worker; fsdp: a shard of each weight on each worker; pipeline: "
        "the front half on one, the back half on the other. The latter two are for networks too large for one.",
    )
    threads_per_worker: int = Field(1, ge=1, description="Compute threads each worker may use.")
    cpus_per_worker: float = Field(
        0.5,
        gt=0,
        description="CPUs Ray reserves per worker. Below 1, so two workers and the replicas fit two cores.",
    )
    gpus_per_worker: float = Field(
        0, ge=0, description="GPUs Ray reserves per worker; above 0 trains with nccl."
    )

    @model_validator(mode="after")
    def _can_be_placed(self) -> Workers:
        if self.min_workers is not None and self.min_workers > self.workers:
            raise ValueError(f"min_workers must be at most workers, {self.workers}")
        if self.strategy == "pipeline" and (self.workers != 2 or self.min_workers not in (None, 2)):
            raise ValueError("a pipeline has two halves; give workers: 2 and no min_workers")
        return self


class Streaming(Spec):
    """Training rows are read from the store in every epoch when there are too many to hold.

    It is for data that an importer brings in pieces, as `parquet` and `csv` do. Their order is then: the parts of the
    data set in an order drawn from the seed, the rows of each likewise, and neighbouring parts mixed.
    """

    memory_mb: float = Field(
        ge=32,
        description="Megabytes that a process of the job may take for data. Sets larger than a quarter of it are "
        "streamed; their validation rows must not take more than a quarter, and test rows are read when they are asked "
        "about.",
    )


class TrainJob(Document):
    """Train an architecture on a data set, evaluate it on held-out rows and register it as a version of `model`."""

    kind = "train"

    model: Name = Field(description="The model this becomes a new version of.")
    data: Component = Field(description="Where the rows come from: a built-in data set, e.g. {use: digits}.")
    split: Split = Field(default=Split(), description="Train, validation and test rows.")
    transforms: tuple[Component, ...] = Field(
        (),
        description="What makes numbers of raw columns, in order, fitted on the training rows and kept with the "
        "version: impute, standardize, one_hot, tokenize. Absent with init_from: those of that version, as they are.",
    )
    architecture: Component = Field(
        description="The network, from the catalogue, e.g. {use: mlp, config: {hidden: [128]}}."
    )
    init_from: str | None = Field(
        default=None, description="Fine-tune: start from the weights of this version, such as digits@1."
    )
    training: Training = Field(default=Training(), description="Optimizer, epochs, early stopping.")
    scaling: Workers = Field(default=Workers(), description="Data-parallel workers.")
    streaming: Streaming | None = Field(
        default=None, description="For data larger than memory; absent: each worker holds all rows."
    )
    budget: Budget | None = Field(
        default=None, description="Stops the run between two epochs, e.g. {hours: 0.5}; absent: nothing does."
    )
    code: str | None = Field(
        default=None,
        pattern=r"^[0-9a-f]{64}$",
        description="SHA-256 of the code that architecture.use names, if it is your own. Filled in on submission.",
    )
    description: str = Field("", description="Kept with the version.")
    start: StartWhen | None = Field(
        default=None,
        description="When `raymaas triggers add` has it run by itself; a job that is submitted runs once, now.",
    )
    rollout: RolloutPlan | None = Field(
        default=None,
        description="When the version is registered, deploy it beside the one that answers and roll it out by this "
        "plan. Absent: registering it changes nothing that is served.",
    )
    card: Card | None = Field(
        default=None, description="What you say of the version: licence, intended use, data sources, limits."
    )

    @model_validator(mode="after")
    def _lbfgs_holds_all_rows(self) -> TrainJob:
        if self.training.optimizer == "lbfgs" and self.streaming is not None:
            raise ValueError(
                "lbfgs takes all rows at once; leave streaming out, or use another training.optimizer"
            )
        return self

    @model_validator(mode="after")
    def _lbfgs_sees_the_whole_network(self) -> TrainJob:
        if self.training.optimizer == "lbfgs" and self.scaling.strategy != "ddp":
            raise ValueError(
                f"lbfgs needs the whole network on every worker; leave scaling.strategy {self.scaling.strategy} out, "
                "or use another training.optimizer"
            )
        return self
