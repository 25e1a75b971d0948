"""CompressJob: make a smaller version of a registered one, by a sweep over recipes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Literal

from pydantic import (
    AfterValidator,
    AliasChoices,
    BeforeValidator,
    Field,
    JsonValue,
    PlainSerializer,
    model_validator,
)

from raymaas.errors import InvalidInput
from raymaas.specs.augment import Augmentation
from raymaas.specs.base import Document, Spec
from raymaas.specs.cards import Card
from raymaas.specs.evaluation import LESS_IS_BETTER, SAMPLE_ERROR, SHARES, leading
from raymaas.specs.jobs import Component
from raymaas.specs.names import Name, Reference
from raymaas.specs.rollouts import RolloutPlan
from raymaas.specs.search import Dimension, Effort, Objective, Point, dimension_of, lies_in
from raymaas.specs.selecting import Rule
from raymaas.specs.versions import ModelVersion

VALIDATION = "validation_"
"""Before a metric's name: its value on validation rows."""


_POINTS, _RELATIVE, _DEVIATIONS = 0.5, 0.02, 0.25  # what may be lost where a job does not say
_HAIR = 1e-9  # metrics are means over rows, and the budget is subtracted in floating point


class Gate(Spec):
    """A metric, and how much worse than the parent's it may be, in its own unit."""

    metric: str
    max_loss: float = Field(ge=0)
    mode: Literal["min", "max"] = Field(
        default_factory=lambda known: "min" if known["metric"] in LESS_IS_BETTER else "max"
    )

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

    def passes(self, value: float, *, parent: float) -> bool:
        """Whether `value` is good enough beside that of the parent."""
        return self.loss(value, parent=parent) <= self.max_loss + _HAIR


class FineTuning(Spec):
    """How every pass trains: against the labels and the parent's own answers (Hinton et al. 2015)."""

    learning_rate: float = Field(
        2e-3, gt=0, description="Step size of Adam at the start; it falls to 0 by a cosine."
    )
    batch_size: int = Field(128, ge=1, description="Rows per step.")
    temperature: float = Field(
        3.0, gt=0, description="Softens the parent's answers; 1 takes them as they are."
    )
    alpha: float = Field(
        0.9, ge=0, le=1, description="Weight of the parent's answers; the rest goes to the labels."
    )
    augment: tuple[Augmentation, ...] = Field(
        (),
        description="New rows made of those of each batch, such as {use: shift, pixels: 1}; the teacher is asked "
        "about them as they are then. See training.augment.",
    )


def _listed(value: object) -> object:
    """One word, or several with commas between, as a list."""
    return value.replace(" ", "").split(",") if isinstance(value, str) else value


def _each_once(rules: tuple[Rule, ...]) -> tuple[Rule, ...]:
    if not rules:
        raise ValueError("name one rule at least: smallest, fastest or knee")
    return tuple(dict.fromkeys(rules))


# Written as the first stores have it, where there was one word only.
Rules = Annotated[
    tuple[Rule, ...], BeforeValidator(_listed), AfterValidator(_each_once), PlainSerializer(",".join)
]


def default_recipe() -> tuple[Component, ...]:
    """What is searched when a job names no recipe."""
    return (
        Component(
            use="prune",
            config={
                "sparsity": {"uniform": [0.5, 0.97]},
                "score": {"choice": ["magnitude", "activation", "taylor"]},
            },
        ),
        Component(
            use="quantize",
            config={"bits": {"integer": [3, 6]}, "scales": {"choice": ["tensor", "channel"]}},
        ),
    )


def _default_point(sparsity: float, score: str, bits: int, scales: str) -> Point:
    return {
        "prune.sparsity": sparsity,
        "prune.score": score,
        "quantize.bits": bits,
        "quantize.scales": scales,
    }


_KNOWN_GOOD = (
    _default_point(0.6, "magnitude", 5, "channel"),
    _default_point(0.8, "taylor", 4, "channel"),
    _default_point(0.9, "taylor", 4, "tensor"),
    _default_point(0.95, "taylor", 3, "tensor"),
)
"""Recipes in the space of `default_recipe`, gentle first; the last took perceptrons to a hundredth and less."""


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
        description="What a recipe may cost: a metric of the model's task; default the one its evaluation begins with, "
        "and of a network that makes rows sample_error: how far its samples are from the parent's of the same codes. "
        "Or a function of your own, such as my_metrics:top_two, in a module or package beside the job file: "
        "metric(predict, data) -> float, where predict(inputs) gives all outputs by name and data has inputs, targets "
        "and classes.",
    )
    less_is_better: bool = Field(
        default=False, description="Of a metric of your own: a smaller figure is the better one."
    )
    max_loss: float | None = Field(
        default=None,
        ge=0,
        validation_alias=AliasChoices("max_loss", "max_accuracy_loss"),  # its name in the first stores
        description="How much worse that may get on validation rows against the parent; of a share, such as accuracy, "
        "in points. Default half a point, of a network that makes rows 0.25 of its samples' standard deviation, and of "
        "anything else 2 % of what the parent has.",
    )
    give_up: float = Field(
        4.0,
        ge=0,
        description="A recipe ends after a pass that trained and still lost more than so many times max_loss, beyond "
        "what chance explains: later passes would not win it back. 0: none does.",
    )
    max_bytes: int | None = Field(default=None, ge=1, description="What the coded file may take, at most.")
    max_latency_ms: float | None = Field(
        default=None,
        gt=0,
        description="What a batch of one row may take in the runtime that will serve it, half of them less, measured "
        "where the job runs.",
    )
    choose: Rules = Field(
        ("smallest",),
        description="Which of the recipes that keep to all limits is registered: the one of fewest bytes, the one that "
        "serves most rows in a second, or the knee, after which fewer bytes begin to cost much of the metric. With "
        "several, as in smallest,fastest, each becomes a version.",
    )
    measure: int = Field(
        3,
        ge=1,
        description="Recipes of the front that are tried and timed in every runtime, at most: the smallest, the knee, "
        "and others evenly between. As many again from the small end, where the smallest cannot be served.",
    )
    seeds: tuple[dict[str, JsonValue], ...] = Field(
        (),
        description="What is tried first, such as {prune.sparsity: 0.9, quantize.bits: 4}. Absent: what is known to be "
        "good for networks of its family.",
    )
    seed: int = Field(0, ge=0, description="Seed of batch order.")
    description: str = Field("", description="Kept with the version.")
    rollout: RolloutPlan | None = Field(
        default=None,
        description="When versions are registered, deploy the first beside the one that answers and roll it out by "
        "this plan. Absent: registering them changes nothing that is served.",
    )
    code: str | None = Field(
        default=None,
        pattern=r"^[0-9a-f]{64}$",
        description="SHA-256 of the code that metric names, if it is your own. Filled in on submission.",
    )
    card: Card | None = Field(
        default=None, description="What you say of the version; absent: the parent's card, word for word."
    )

    @model_validator(mode="after")
    def _consistent(self) -> CompressJob:
        if self.reference.model != self.model:
            raise ValueError(f"parent {self.parent!r} is not a version of {self.model!r}")
        if self.less_is_better and not self.own_metric:
            raise ValueError("less_is_better is for a metric of your own; of all others it is known")
        space = self.space()
        for seed in self.seeds:
            if not lies_in(space, seed):
                raise ValueError(
                    f"seeds: {seed} is not among what is searched; a seed gives a value of its own to each of "
                    f"{', '.join(space) or 'no setting'}, and to nothing else"
                )
        return self

    @property
    def reference(self) -> Reference:
        """The parent, as far as the job says."""
        try:
            return Reference.parse(self.parent or self.model)
        except InvalidInput as error:
            raise ValueError(str(error)) from None

    @property
    def own_metric(self) -> str:
        """The user's function that is the metric; empty for one of the task's."""
        return self.metric if ":" in self.metric else ""

    def gate_metric(self, parent: ModelVersion) -> str:
        """What decides whether a smaller version of `parent` is good enough. InvalidInput for an unknown metric."""
        if self.own_metric:
            return self.own_metric
        known = parent.evaluation.metrics
        # Nothing in the evaluation of a network that makes rows says how good those are.
        alike = {SAMPLE_ERROR} if parent.task == "adversarial" else set()
        if self.metric and self.metric not in known.keys() | alike:
            raise InvalidInput(
                f"metric {self.metric!r} is none of {parent.model}'s: {', '.join(sorted(known.keys() | alike))}"
            )
        return self.metric or (SAMPLE_ERROR if alike else leading(known)[0])

    def gate(self, metric: str, *, reached: float) -> Gate:
        """How much of it may be lost; the parent reached that on validation rows."""
        if metric in SHARES:
            return Gate(metric=metric, max_loss=(_POINTS if self.max_loss is None else self.max_loss) / 100)
        usual = _DEVIATIONS if metric == SAMPLE_ERROR else _RELATIVE * abs(reached)
        lost = usual if self.max_loss is None else self.max_loss
        if metric == self.own_metric:
            return Gate(metric=metric, max_loss=lost, mode="min" if self.less_is_better else "max")
        return Gate(metric=metric, max_loss=lost)

    def space(self) -> dict[str, Dimension]:
        """What the recipe leaves open; nothing when it is one recipe to carry out."""
        return space_of(self.recipe)


def known_good(space: Mapping[str, Dimension]) -> tuple[Point, ...]:
    """Recipes to begin a search of `space` with: gentle first, so that something passes.

    Those that lie in it; none for a space of other settings.
    """
    return tuple(point for point in _KNOWN_GOOD if lies_in(space, point))


def space_of(recipe: Sequence[Component]) -> dict[str, Dimension]:
    """What `recipe` leaves open: `prune.sparsity` or `distill.student.config.hidden` to its values.

    ValueError for a pass used twice.
    """
    names = [step.use for step in recipe]
    for name in names:
        if names.count(name) > 1:
            raise ValueError(f"pass {name!r} is used twice; one recipe uses a pass once")
    return dict(found for step in recipe for found in _open(step.config, step.use))


def _open(config: Mapping[str, JsonValue], name: str) -> Iterator[tuple[str, Dimension]]:
    for field, value in config.items():
        if dimension := dimension_of(value):
            yield f"{name}.{field}", dimension
        elif isinstance(value, dict):
            yield from _open(value, f"{name}.{field}")


def settled(recipe: Sequence[Component], point: Point) -> tuple[Component, ...]:
    """`recipe` with every open setting as `point` says; the point is one of `space_of(recipe)`."""
    return tuple(Component(use=step.use, config=_closed(step.config, step.use, point)) for step in recipe)


def _closed(config: Mapping[str, JsonValue], name: str, point: Point) -> dict[str, JsonValue]:
    closed: dict[str, JsonValue] = {}
    for field, value in config.items():
        place = f"{name}.{field}"
        inside = _closed(value, place, point) if isinstance(value, dict) else value
        closed[field] = point.get(place, inside)
    return closed
