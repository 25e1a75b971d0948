"""CompressJob: make a smaller version of a registered one, by a sweep over recipes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from pydantic import AliasChoices, Field, model_validator

from raymaas.errors import InvalidInput
from raymaas.specs.base import Document, Spec
from raymaas.specs.cards import Card
from raymaas.specs.evaluation import LESS_IS_BETTER, SHARES, leading
from raymaas.specs.jobs import Component
from raymaas.specs.names import Name, Reference
from raymaas.specs.search import Dimension, Effort, Objective, Point, dimension_of
from raymaas.specs.versions import ModelVersion

VALIDATION = "validation_"
"""Before a metric's name: its value on validation rows."""


_POINTS, _RELATIVE = 0.5, 0.02  # what may be lost where a job does not say


class Gate(Spec):
    """A metric, and how much worse than the parent's it may be, in its own unit."""

    metric: str
    max_loss: float = Field(ge=0)

    @property
    def mode(self) -> Literal["min", "max"]:
        return "min" if self.metric in LESS_IS_BETTER else "max"

    @property
    def objectives(self) -> tuple[Objective, Objective]:
        """What a search weighs up: bytes, and the metric on validation rows."""
        return (
            Objective(metric="bytes", mode="min"),
            Objective(metric=VALIDATION + self.metric, mode=self.mode),
        )

    def loss(self, value: float, *, parent: float) -> float:
        """How much worse `value` is than that of the parent; below 0, it is better."""
        return value - parent if self.mode == "min" else parent - value


class FineTuning(Spec):
    """How every pass trains: against the labels and the parent's own answers (Hinton et al. 2015)."""

    learning_rate: float = Field(
        2e-3, gt=0, description="Step size of Adam at the start; it falls to 0 by a cosine."
    )
    batch_size: int = Field(64, ge=1, description="Rows per step.")
    temperature: float = Field(
        3.0, gt=0, description="Softens the parent's answers; 1 takes them as they are."
    )
    alpha: float = Field(
        0.9, ge=0, le=1, description="Weight of the parent's answers; the rest goes to the labels."
    )


def default_recipe() -> tuple[Component, ...]:
    """What is searched when a job names no recipe."""
    return (
        Component(
            use="prune",
            config={"sparsity": {"uniform": [0.5, 0.97]}, "score": {"choice": ["magnitude", "activation"]}},
        ),
        Component(use="quantize", config={"bits": {"integer": [3, 6]}}),
    )


class CompressJob(Document):
    """Search recipes on validation rows, evaluate the smallest good one once on test rows, and register it."""

    kind = "compress"

    model: Name = Field(description="The model this becomes a new version of.")
    parent: str = Field(
        "", description="The version to compress, such as digits@1; default what the model's bare name means."
    )
    recipe: tuple[Component, ...] = Field(
        default_factory=default_recipe,
        min_length=1,
        description="Passes in order; a setting may be searched, e.g. {choice: [3, 4]} or {uniform: [0.8, 0.95]}. "
        "Absent: prune and quantize, searched widely.",
    )
    fine_tuning: FineTuning = Field(default=FineTuning(), description="The training within every pass.")
    search: Effort = Field(default=Effort(), description="How many recipes are tried.")
    metric: str = Field(
        "",
        description="What a recipe may cost: a metric of the model's task; default the one its evaluation begins with.",
    )
    max_loss: float | None = Field(
        default=None,
        ge=0,
        validation_alias=AliasChoices("max_loss", "max_accuracy_loss"),  # its name in the first stores
        description="How much worse that may get on validation rows against the parent; of a share, such as accuracy, "
        "in points. Default half a point, and of anything else 2 % of what the parent has.",
    )
    choose: Literal["smallest", "knee"] = Field(
        "smallest",
        description="Which of the recipes that pass the gate is registered: the one of fewest bytes, or the one after "
        "which fewer bytes begin to cost much of the metric.",
    )
    seed: int = Field(0, ge=0, description="Seed of batch order.")
    description: str = Field("", description="Kept with the version.")
    card: Card | None = Field(
        default=None, description="What you say of the version; absent: the parent's card, word for word."
    )

    @model_validator(mode="after")
    def _consistent(self) -> CompressJob:
        if self.reference.model != self.model:
            raise ValueError(f"parent {self.parent!r} is not a version of {self.model!r}")
        self.space()
        return self

    @property
    def reference(self) -> Reference:
        """The parent, as far as the job says."""
        try:
            return Reference.parse(self.parent or self.model)
        except InvalidInput as error:
            raise ValueError(str(error)) from None

    def gate(self, parent: ModelVersion) -> Gate:
        """What decides whether a smaller version of `parent` is good enough. InvalidInput for an unknown metric."""
        known = parent.evaluation.metrics
        if self.metric and self.metric not in known:
            raise InvalidInput(
                f"metric {self.metric!r} is none of {parent.model}'s: {', '.join(sorted(known))}"
            )
        if parent.task == "adversarial" and not self.metric:
            raise InvalidInput(
                f"{parent.model} makes rows, and no metric of its evaluation says how good those are; name the one "
                f"that may not get worse, metric: {' or '.join(sorted(known))}, and look at samples of what comes out"
            )
        metric = self.metric or leading(known)[0]
        if metric in SHARES:
            return Gate(metric=metric, max_loss=(_POINTS if self.max_loss is None else self.max_loss) / 100)
        relative = _RELATIVE * abs(known[metric].value)
        return Gate(metric=metric, max_loss=relative if self.max_loss is None else self.max_loss)

    def space(self) -> dict[str, Dimension]:
        """What the recipe leaves open; nothing when it is one recipe to carry out."""
        return space_of(self.recipe)


def space_of(recipe: Sequence[Component]) -> dict[str, Dimension]:
    """What `recipe` leaves open: `prune.sparsity` to its values. ValueError for a pass used twice."""
    space: dict[str, Dimension] = {}
    names = [step.use for step in recipe]
    for step in recipe:
        if names.count(step.use) > 1:
            raise ValueError(f"pass {step.use!r} is used twice; one recipe uses a pass once")
        for field, value in step.config.items():
            if dimension := dimension_of(value):
                space[f"{step.use}.{field}"] = dimension
    return space


def settled(recipe: Sequence[Component], point: Point) -> tuple[Component, ...]:
    """`recipe` with every open setting as `point` says; the point is one of `space_of(recipe)`."""
    return tuple(
        Component(
            use=step.use,
            config={field: point.get(f"{step.use}.{field}", value) for field, value in step.config.items()},
        )
        for step in recipe
    )
