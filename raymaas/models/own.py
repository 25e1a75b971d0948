"""Networks of the user's own: any `nn.Module` named as `my_package.net:Net`, beside those of the catalogue.

Only training imports such code, with the rights of the job. A version made of it is served from its graph, and what
serves it refuses its name: see `raymaas.bundle`.
"""

from __future__ import annotations

import importlib
import inspect
from typing import ClassVar

import torch
from pydantic import ConfigDict
from torch import nn

from raymaas.errors import InvalidInput
from raymaas.models import catalogue
from raymaas.models.base import NetworkConfig
from raymaas.models.chain import Chained, Link
from raymaas.models.networks import Classifier, Network, Regressor
from raymaas.models.traced import traced
from raymaas.specs.facts import Facts
from raymaas.specs.jobs import Component
from raymaas.specs.tasks import Target, Task


class OwnConfig(NetworkConfig):
    """Whatever the class takes by name."""

    model_config = ConfigDict(extra="allow", frozen=True)


def task_of(component: Component, *, target: Target) -> Task:
    """What `component` is for; a network of one's own learns what the data has: labels, or numbers."""
    if not component.is_own_code:
        return catalogue.task_of(component)
    return "regression" if target == "number" else "classification"


def resolve(component: Component, facts: Facts) -> Component:
    """`catalogue.resolve`, also for a network of one's own.

    Of such a class, the parameters `in_features`, `shape`, `classes` and `vocabulary` that it has and the job leaves
    out are taken from the data. Raises InvalidInput when the class is not there, is no nn.Module, or does not take
    the config.
    """
    if not component.is_own_code:
        return catalogue.resolve(component, facts)
    if facts.target == "none":
        raise InvalidInput(f"{component.use} needs labels or numbers to learn, but the data set has neither")
    parameters = inspect.signature(_class(component.use)).parameters
    known = {name: fact for name, fact in catalogue.named(facts).items() if name in parameters}
    config = known | component.config
    try:
        inspect.signature(_class(component.use)).bind(**config)
    except TypeError as error:
        raise InvalidInput(
            f"{component.use} does not take architecture.config: {error}; it takes {', '.join(parameters)}"
        ) from None
    return Component(use=component.use, config=config)


def build(component: Component, *, target: Target = "classes") -> Network:
    """`catalogue.build`, also for a network of one's own, wrapped so that it answers as the catalogue's do."""
    if not component.is_own_code:
        return catalogue.build(component)
    network = _class(component.use)(**component.config)
    return OwnRegressor(network) if target == "number" else OwnClassifier(network)


class OwnClassifier(Chained, Classifier):
    """`network` maps float32 [B, *row] to logits [B, classes]."""

    Config: ClassVar[type[NetworkConfig]] = OwnConfig

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, x_B: torch.Tensor) -> torch.Tensor:
        logits_BC: torch.Tensor = self.network(x_B)
        return logits_BC

    def chain(self) -> tuple[Link, ...]:
        """Raises InvalidInput for a network that `traced` refuses."""
        return traced(self.network)


class OwnRegressor(Chained, Regressor):
    """`network` maps float32 [B, *row] to predictions [B] or [B, 1]."""

    Config: ClassVar[type[NetworkConfig]] = OwnConfig

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, x_B: torch.Tensor) -> torch.Tensor:
        prediction_B: torch.Tensor = self.network(x_B).flatten()
        return prediction_B

    def chain(self) -> tuple[Link, ...]:
        """Raises InvalidInput for a network that `traced` refuses."""
        return *traced(self.network), Link(torch.flatten)


def _class(use: str) -> type[nn.Module]:
    module, _, name = use.partition(":")
    try:
        found = getattr(importlib.import_module(module), name, None)
    except ModuleNotFoundError as error:
        raise InvalidInput(
            f"architecture {use!r} cannot be imported: {error}; put the job file beside the package, or submit the"
            " folder that holds it as the Ray job's working directory"
        ) from None
    if not (isinstance(found, type) and issubclass(found, nn.Module)):
        raise InvalidInput(f"architecture {use!r}: {module} has no torch.nn.Module called {name!r}")
    return found
