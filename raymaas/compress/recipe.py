"""Recipes: passes in order, checked before anything trains, and carried out on a trained network."""

from __future__ import annotations

import difflib
import importlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol, cast

import numpy as np

from raymaas.bundle.rmz.tensors import Coded, Quantized
from raymaas.compress.subject import Subject
from raymaas.errors import InvalidInput
from raymaas.specs.base import Spec
from raymaas.specs.jobs import Component

PASSES: Mapping[str, str] = {
    "distill": "raymaas.compress.passes.distill:Distill",
    "finetune": "raymaas.compress.passes.finetune:FineTune",
    "l1": "raymaas.compress.passes.l1:L1",
    "prune": "raymaas.compress.passes.prune:Prune",
    "quantize": "raymaas.compress.passes.quantize:Quantize",
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


def passes_of(recipe: Sequence[Component]) -> list[Pass]:
    """The passes of `recipe`. Raises InvalidInput for an unknown pass or setting, or an order that cannot work."""
    made = [_pass_of(step) for step in recipe]
    names = [step.use for step in recipe]
    if "distill" in names[1:]:
        raise InvalidInput(
            f"pass 'distill' follows {names[names.index('distill') - 1]!r}: a student begins with new weights, so what "
            "was done before would be lost; put 'distill' first"
        )
    if "quantize" in names[:-1]:
        after = names[names.index("quantize") + 1]
        raise InvalidInput(
            f"pass {after!r} follows 'quantize': it would move weights off the levels they were settled on; "
            "put 'quantize' last"
        )
    return made


def carry_out(recipe: Sequence[Component], subject: Subject) -> Compressed:
    """Apply the passes in order, on one CPU thread or as many as torch may use; nothing is random but the seed."""
    for step in passes_of(recipe):
        step.apply(subject)
    tensors = subject.tensors()
    return Compressed(tensors=tensors, sparsity=_sparsity([tensors[name] for name in subject.matrices]))


def _sparsity(weights: Sequence[Coded]) -> float:
    values = [part.levels if isinstance(part, Quantized) else part.array for part in weights]
    return 1 - sum(int(np.count_nonzero(v)) for v in values) / max(1, sum(v.size for v in values))


def _pass_of(step: Component) -> Pass:
    if step.use not in PASSES:
        near = difflib.get_close_matches(step.use, PASSES, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"known are {', '.join(sorted(PASSES))}"
        raise InvalidInput(f"pass {step.use!r} is unknown; {hint}")
    module, _, attribute = PASSES[step.use].partition(":")
    cls: Any = getattr(importlib.import_module(module), attribute)
    return cast(Pass, cls(cls.Config.parse(step.config, source=f"pass {step.use!r}")))
