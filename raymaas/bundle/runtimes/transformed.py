"""Serving a network behind its fitted transforms: raw columns in, the network's own outputs out."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from raymaas.bundle.runtimes.base import Runtime
from raymaas.data.transforms.fitted import Fitted


class TransformedRuntime:
    """Another runtime that is asked with what `transforms` make of the inputs.

    A method of the version takes what the network takes: it may have inputs of its own, such as a latent code.
    """

    def __init__(self, network: Runtime, transforms: Fitted) -> None:
        self._network = network
        self._transforms = transforms
        self._input = transforms.input.name

    @property
    def name(self) -> str:
        return self._network.name

    def run(self, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Raises InvalidInput, naming column and row, for a missing value that no transform fills."""
        return self._network.run({self._input: self._transforms.x_of(inputs)})

    def call(self, method: str, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        return self._network.call(method, inputs)
