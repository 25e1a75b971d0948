"""Serving with PyTorch itself: the architecture from the catalogue, the weights from safetensors or a coded file."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import orjson
import torch
from safetensors import SafetensorError
from safetensors.torch import load
from torch import nn
from torch.nn.modules.conv import _ConvNd

from raymaas.bundle.files import ARCHITECTURE, CODED, WEIGHTS
from raymaas.bundle.rmz.container import read
from raymaas.errors import IntegrityError, InvalidInput
from raymaas.models import catalogue
from raymaas.models.networks import Network
from raymaas.specs.jobs import Component
from raymaas.specs.runtimes import RuntimeName
from raymaas.specs.versions import Signature


class TorchRuntime:
    """Runs on `device`. torch has one number of threads per process: `threads` holds until the next one.

    As `torch-bf16` it multiplies in bfloat16 what can be, norms and softmax in float32, and gives float32. Methods
    stay in float32.
    """

    def __init__(
        self,
        files: Mapping[str, bytes],
        *,
        name: RuntimeName = "torch",
        signature: Signature,
        threads: int,
        device: str,
    ) -> None:
        self.name = name
        self._halved = name == "torch-bf16"
        self._input = signature.inputs[0].name
        self._outputs = [spec.name for spec in signature.outputs]
        self._device = torch.device(device)
        torch.set_num_threads(threads)
        self._network = load_network(files).to(self._device).eval()
        self._methods = self._network.methods()
        if self._halved and not self._methods:
            _halve(self._network)

    def run(self, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        halved = torch.autocast(self._device.type, torch.bfloat16, enabled=self._halved)
        with torch.inference_mode(), halved:
            # A copy: torch must not get at memory that Arrow or the network buffer owns.
            x_BD = torch.tensor(inputs[self._input], device=self._device)
            outputs = self._network.infer(x_BD)
        return {name: out.float().cpu().numpy() for name, out in zip(self._outputs, outputs, strict=True)}

    def call(self, method: str, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        if method not in self._methods:
            raise InvalidInput(
                f"method {method!r} is unknown; there are {', '.join(self._methods) or 'none'}"
            )
        with torch.inference_mode():
            return self._methods[method].run(inputs)


def _halve(network: Network) -> None:
    """Once, what autocast would do to these weights for every batch."""
    for module in network.modules():
        if isinstance(module, nn.Linear | _ConvNd):
            module.to(torch.bfloat16)


def load_network(files: Mapping[str, bytes]) -> Network:
    """The network in `files`, which the caller verified. Raises IntegrityError when the weights do not fit it."""
    component = Component.parse(orjson.loads(files[ARCHITECTURE]), source=ARCHITECTURE)
    # The values are replaced at once, so drawing them must not move the process's generator.
    with torch.random.fork_rng(devices=[]):
        network = catalogue.build(component)
    try:
        network.load_state_dict(load_weights(files))
    except (SafetensorError, RuntimeError) as error:
        kept = CODED if CODED in files else WEIGHTS
        raise IntegrityError(f"{kept} does not fit architecture {component.use!r}: {error}") from None
    return network


def load_weights(files: Mapping[str, bytes]) -> dict[str, torch.Tensor]:
    """The tensors in `files`, from either kind of weights, by name."""
    if CODED not in files:
        return load(files[WEIGHTS])
    return {name: torch.from_numpy(array) for name, array in read(files[CODED]).dense().items()}
