"""Recipes: passes in order, checked before anything trains, and carried out on a trained network."""

from __future__ import annotations

import difflib
import importlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, ClassVar, Protocol, cast

import numpy as np

from raymaas.bundle.rmz.header import CoderName
from raymaas.bundle.rmz.streams import coders_for
from raymaas.bundle.rmz.tensors import Coded
from raymaas.compress.subject import Subject
from raymaas.errors import InvalidInput
from raymaas.specs.base import Spec
from raymaas.specs.jobs import Component

PASSES: Mapping[str, str] = {
    "channels": "raymaas.compress.passes.channels:Channels",
    "compute": "raymaas.compress.passes.compute:Compute",
    "distill": "raymaas.compress.passes.distill:Distill",
    "entropy": "raymaas.compress.passes.entropy:Entropy",
    "finetune": "raymaas.compress.passes.finetune:FineTune",
    "l1": "raymaas.compress.passes.l1:L1",
    "lowrank": "raymaas.compress.passes.lowrank:LowRank",
    "prune": "raymaas.compress.passes.prune:Prune",
    "quantize": "raymaas.compress.passes.quantize:Quantize",
}

_ORDER: Sequence[Sequence[str]] = (
    ("distill",),
    ("channels",),
    ("lowrank",),
    ("finetune", "l1", "prune"),
    ("quantize",),
    ("compute", "entropy"),
)

_WHY_BEFORE: Mapping[str, str] = {
    "distill": "a student begins with new weights, so what was done before would be lost",
    "channels": "units are taken out of whole matrices, so masks and factors from before would be lost",
    "lowrank": "the factors of a matrix have none of its zeros, so what was masked before would be lost",
}
_WHY_AFTER: Mapping[str, str] = {
    "quantize": "{other!r} would move weights off the levels they were settled on",
    "compute": "it says how finished weights are run",
    "entropy": "it says how finished weights are coded",
}


class Pass(Protocol):
    """One step of a recipe: made from its config, applied to a subject."""

    Config: ClassVar[type[Spec]]

    def apply(self, subject: Subject) -> None: ...


@dataclass(frozen=True, eq=False)
class Compressed:
    """What a recipe made: every tensor in the form it is kept."""

    tensors: Mapping[str, Coded]
    sparsity: float
    """Share of the matrices' weights that are zero."""
    coders: Mapping[str, CoderName]
    """What a file is to be written with, for tensors of which a pass said so."""


def passes_of(recipe: Sequence[Component]) -> list[Pass]:
    """The passes of `recipe`. Raises InvalidInput for an unknown pass or setting, or an order that cannot work."""
    made = [_pass_of(step) for step in recipe]
    for step, following in pairwise(step.use for step in recipe):
        if _place(step) > _place(following):
            why = _WHY_BEFORE.get(following) or _WHY_AFTER[step].format(other=following)
            raise InvalidInput(
                f"pass {following!r} follows {step!r}: {why}; put {following!r} before {step!r}"
            )
    return made


def carry_out(
    recipe: Sequence[Component],
    subject: Subject,
    *,
    after: Callable[[Component, Subject], None] = lambda component, subject: None,
) -> Compressed:
    """Apply the passes in order, on one CPU thread or as many as torch may use; nothing is random but the seed.

    `after` is called after each pass, and must leave the subject as it is; what it raises ends the recipe.
    """
    for component, step in zip(recipe, passes_of(recipe), strict=True):
        step.apply(subject)
        after(component, subject)
    return as_it_is(subject)


def as_it_is(subject: Subject) -> Compressed:
    """What a recipe made if it ends here. Afterwards the subject's network computes with the numbers that are kept."""
    tensors = subject.tensors()
    return Compressed(
        tensors=tensors,
        sparsity=_sparsity([tensors[name] for name in subject.matrices]),
        coders=_coders(tensors, subject.coder),
    )


def _place(name: str) -> int:
    return next(place for place, names in enumerate(_ORDER) if name in names)


def _coders(tensors: Mapping[str, Coded], coder: CoderName | None) -> dict[str, CoderName]:
    """That coder for every tensor which it can code."""
    return {name: coder for name, coded in tensors.items() if coder in coders_for(coded)} if coder else {}


def _sparsity(weights: Sequence[Coded]) -> float:
    values = [part.dense() for part in weights]
    return 1 - sum(int(np.count_nonzero(v)) for v in values) / max(1, sum(v.size for v in values))


def pass_called(name: str) -> type[Pass]:
    """The pass of that name. Raises InvalidInput with the nearest known one."""
    if name not in PASSES:
        near = difflib.get_close_matches(name, PASSES, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"known are {', '.join(sorted(PASSES))}"
        raise InvalidInput(f"pass {name!r} is unknown; {hint}")
    module, _, attribute = PASSES[name].partition(":")
    return cast(type[Pass], getattr(importlib.import_module(module), attribute))


def _pass_of(step: Component) -> Pass:
    cls: Any = pass_called(step.use)
    return cast(Pass, cls(cls.Config.parse(step.config, source=f"pass {step.use!r}")))
