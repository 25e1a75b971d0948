"""The catalogue: names of architectures, and the way from a job's `{use, config}` to a fresh module.

Adding one means its own file and its line here. Listing names imports nothing, so a CLI can do it without
torch.
"""

from __future__ import annotations

import difflib
import importlib
import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, cast

from pydantic import JsonValue

from raymaas.errors import InvalidInput
from raymaas.models.base import Architecture, NetworkConfig
from raymaas.specs.facts import Facts
from raymaas.specs.jobs import Component
from raymaas.specs.tasks import TARGETS, Target, Task

if TYPE_CHECKING:
    from raymaas.models.networks import Network

ARCHITECTURES: Mapping[str, str] = {
    "cnn": "raymaas.models.cnn:CNN",
    "factored": "raymaas.models.factored:FAMILY",
    "gan": "raymaas.models.gan:GAN",
    "gpt": "raymaas.models.gpt:GPT",
    "lenet5": "raymaas.models.lenet:LeNet5",
    "linear_svm": "raymaas.models.svm:LinearSVM",
    "logistic": "raymaas.models.logistic:LogisticRegression",
    "mlp": "raymaas.models.mlp:MLP",
    "mlp_regressor": "raymaas.models.mlp:MLPRegressor",
    "mobilenet": "raymaas.models.mobilenet:MobileNet",
    "rbf_svm": "raymaas.models.svm:RBFSVM",
    "recurrent": "raymaas.models.recurrent:Recurrent",
    "resnet": "raymaas.models.resnet:ResNet",
    "text_recurrent": "raymaas.models.recurrent:TextRecurrent",
    "text_transformer": "raymaas.models.text_transformer:TextTransformer",
    "vae": "raymaas.models.vae:VAE",
    "vit": "raymaas.models.vit:VisionTransformer",
}

FACTORED = "factored"
"""The one family whose networks are of another family's making, which says what they are for."""

_SAID: Mapping[Target, str] = {"classes": "labels", "number": "numbers as labels", "none": "no labels"}


def architecture(name: str) -> Architecture:
    """The family called `name`. Raises InvalidInput with the nearest known name."""
    if ":" in name:
        raise InvalidInput(
            f"architecture {name!r} is its user's own code, which is imported for training only"
        )
    if name not in ARCHITECTURES:
        near = difflib.get_close_matches(name, ARCHITECTURES, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"known are {', '.join(sorted(ARCHITECTURES))}"
        raise InvalidInput(f"architecture {name!r} is unknown; {hint}")
    module, _, attribute = ARCHITECTURES[name].partition(":")
    return cast(Architecture, getattr(importlib.import_module(module), attribute))


def task_of(component: Component) -> Task:
    """What the family called `component.use` is for. Raises InvalidInput as `architecture` does."""
    return architecture(plain(component).use).Config.task


def plain(component: Component) -> Component:
    """The component that has the settings of a family: what a factored network is made of, or `component` itself."""
    if component.use != FACTORED:
        return component
    return Component.parse(component.config.get("of"), source=f"architecture {FACTORED!r}: of")


def resolve(component: Component, facts: Facts) -> Component:
    """`component` with every setting written out: filled in from the data, or from the defaults.

    The result builds the same network for ever, whatever later defaults are. Raises InvalidInput for an
    unknown name or setting, for a setting that contradicts the data, and for rows or a target the family cannot
    take. Networks that need no labels take any target.
    """
    if component.use == FACTORED:
        from raymaas.models.factored import resolved  # it needs torch, and this module

        return resolved(component, facts)
    family = architecture(component.use)
    target, wanted = facts.target, TARGETS.get(family.Config.task, facts.target)
    if target != wanted:
        fitting = [
            name
            for name in sorted(ARCHITECTURES.keys() - {FACTORED})
            if TARGETS.get(architecture(name).Config.task) == target
        ]
        raise InvalidInput(
            f"architecture {component.use!r} learns {_SAID[wanted]}, but the data set has {_SAID[target]}; "
            f"use {' or '.join(fitting) or 'one that needs no labels'}, or another data set"
        )
    known = {field: fact for field, fact in named(facts).items() if field in family.Config.model_fields}
    for field, fact in known.items():
        given = component.config.get(field, fact)
        if given != fact:
            raise InvalidInput(
                f"architecture.config.{field} is {given}, but the data has {fact}; "
                "leave it out to take it from the data"
            )
    config = config_of(Component(use=component.use, config=known | component.config))
    return Component(use=component.use, config=config.model_dump(mode="json"))


def named(facts: Facts) -> dict[str, JsonValue]:
    """The facts there are, by the names that settings of networks have for them."""
    known: dict[str, JsonValue] = {"in_features": math.prod(facts.row), "shape": list(facts.row)}
    if facts.classes:
        known["classes"] = len(facts.classes)
    if facts.vocabulary is not None:
        known["vocabulary"] = facts.vocabulary
    return known


def config_of(component: Component) -> NetworkConfig:
    """The settings of a `resolve`d component, checked. InvalidInput for an unknown name or setting."""
    return architecture(component.use).Config.parse(
        component.config, source=f"architecture {component.use!r}"
    )


def build(component: Component) -> Network:
    """A module from a `resolve`d component; its weights come from torch's generator, so seed that."""
    return architecture(component.use)(config_of(component))
