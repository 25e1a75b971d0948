"""One trial of a compression: carry out a recipe on the parent, code it, and measure what was decoded again."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import nn

from raymaas.bundle.format import CODED
from raymaas.bundle.rmz.container import read, write
from raymaas.compress.recipe import carry_out
from raymaas.compress.subject import Subject
from raymaas.data.rows import Rows
from raymaas.jobs.origin import network_of, rows_of_version
from raymaas.registry.versions import Versions
from raymaas.specs.compression import CompressJob, settled
from raymaas.specs.search import Point
from raymaas.store import open_store
from raymaas.sweep.search import Report


@dataclass(frozen=True)
class RecipeTrial:
    """What every trial of one compression shares; travels to the trials' processes and opens the store there."""

    job: CompressJob
    parent: int
    original: int
    store_url: str

    def __call__(self, point: Point, tell: Callable[[Report], None]) -> None:
        """Reports `bytes` of the coded file, `ratio` to the original's weights, `sparsity` and
        `validation_accuracy` of the decoded network; the file is kept as `model.rmz`."""
        store = open_store(self.store_url)
        versions = Versions(store)
        parent, original = (versions.get(self.job.model, n) for n in (self.parent, self.original))
        rows = rows_of_version(store, original)
        network = network_of(versions, parent)
        subject = Subject.of(network, rows.train, self.job.fine_tuning, seed=self.job.seed)
        compressed = carry_out(settled(self.job.recipe, point), subject)
        coded = write(parent.architecture, compressed.tensors)
        network.load_state_dict(
            {name: torch.from_numpy(array) for name, array in read(coded).dense().items()}
        )
        metrics = {
            "bytes": float(len(coded)),
            "ratio": original.weights_bytes / len(coded),
            "sparsity": compressed.sparsity,
            "validation_accuracy": accuracy(network, rows.validation),
        }
        tell(Report(metrics, files={CODED: coded}))


@torch.no_grad()
def accuracy(network: nn.Module, rows: Rows) -> float:
    """Share of rows whose most probable class is the label."""
    network.eval()
    return float((network(torch.tensor(rows.x_ND)).argmax(dim=1).numpy() == rows.y_N).mean())
