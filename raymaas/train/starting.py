"""Where a fit starts: a fresh network, or one with the weights of a version, some of them frozen.

Fine-tuning takes every tensor of the version that the network has under the same name in the same shape; the others,
such as the head of other classes, are drawn.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import partial

import torch

from raymaas.bundle.files import ARCHITECTURE
from raymaas.bundle.runtimes.torch import load_weights
from raymaas.errors import InvalidInput
from raymaas.models import own
from raymaas.models.networks import Network
from raymaas.registry.versions import Versions
from raymaas.specs.jobs import Component, TrainJob
from raymaas.specs.names import Reference
from raymaas.specs.tasks import Target
from raymaas.specs.versions import ModelVersion
from raymaas.store import Store


@dataclass(frozen=True, eq=False)
class Start:
    """Makes the network of a job, the same on every worker whose generator is seeded alike."""

    architecture: Component
    target: Target
    weights: Mapping[str, torch.Tensor]
    origin: str = ""
    frozen: tuple[str, ...] = ()

    def __call__(self) -> Network:
        """Raises InvalidInput when nothing of the weights fits, and for patterns that match nothing or everything."""
        network = own.build(self.architecture, target=self.target)
        if self.origin:
            network.load_state_dict(self._taken(network), strict=False)
        freeze(network, self.frozen)
        return network

    def told(self) -> str:
        """What is taken over and what is not, in one sentence."""
        with torch.random.fork_rng(devices=[]):
            network = own.build(self.architecture, target=self.target)
        taken = self._taken(network)
        fresh = [name for name in network.state_dict() if name not in taken]
        drawn = f"; drawn anew: {', '.join(fresh)}" if fresh else ""
        return f"starting from {self.origin}: {len(taken)} of {len(taken) + len(fresh)} tensors{drawn}"

    def _taken(self, network: Network) -> dict[str, torch.Tensor]:
        wanted = network.state_dict()
        taken = {
            name: tensor
            for name, tensor in self.weights.items()
            if name in wanted and wanted[name].shape == tensor.shape
        }
        if not taken:
            raise InvalidInput(
                f"init_from {self.origin}: none of its tensors has the name and shape of one of"
                f" {self.architecture.use}'s; it has {_some(self.weights)}, wanted are {_some(wanted)}"
            )
        return taken


def start_of(job: TrainJob, architecture: Component, *, target: Target, store: Store) -> Start:
    """Where `job` starts. Raises NotFound when the version it names is not there, IntegrityError when it is damaged."""
    made = partial(Start, architecture, target, frozen=job.training.frozen)
    if job.init_from is None:
        return made(weights={})
    versions = Versions(store)
    version = version_named(job.init_from, versions)
    names = (version.weights_file, ARCHITECTURE)
    weights = load_weights({name: versions.read_file(version, name) for name in names})
    return made(weights=weights, origin=job.init_from)


def version_named(init_from: str, versions: Versions) -> ModelVersion:
    """The version that a submitted job starts from; submission made a number of an alias."""
    reference = Reference.parse(init_from)
    if reference.version is None:
        raise InvalidInput(
            f"init_from {init_from} names no version; write {reference.model}@3, or submit the job"
        )
    return versions.get(reference.model, reference.version)


def freeze(network: Network, patterns: Sequence[str]) -> None:
    """Let the parameters whose names match one of `patterns`, as file names do, keep their values.

    Raises InvalidInput for a pattern that matches none, and when none would be left to train.
    """
    names = [name for name, _ in network.named_parameters()]
    for pattern in patterns:
        if not any(fnmatchcase(name, pattern) for name in names):
            raise InvalidInput(f"training.frozen: {pattern!r} matches no parameter; there are {_some(names)}")
    for name, parameter in network.named_parameters():
        if any(fnmatchcase(name, pattern) for pattern in patterns):
            parameter.requires_grad_(False)
    if not any(parameter.requires_grad for parameter in network.parameters()):
        raise InvalidInput("training.frozen leaves no parameter to train; freeze fewer")


def _some(names: Mapping[str, object] | Sequence[str]) -> str:
    shown = list(names)[:8]
    return ", ".join(shown) + (f" and {len(names) - len(shown)} more" if len(names) > len(shown) else "")
