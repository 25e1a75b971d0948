"""A network of one's own, as a package on disk, and a job that is submitted with it."""

from __future__ import annotations

import sys
from pathlib import Path

from raymaas.client.code import code_of
from raymaas.registry.code import keep_code
from raymaas.specs.jobs import TrainJob
from raymaas.store import Store

NET = """
import torch
from tiny_nets.layers import scaled

class Net(torch.nn.Module):
    def __init__(self, in_features, classes=1, hidden=8):
        super().__init__()
        self.up = torch.nn.Linear(in_features, hidden)
        self.out = torch.nn.Linear(hidden, classes)

    def forward(self, x):
        return self.out(torch.relu(self.up(scaled(x))))

class Moody(Net):
    def forward(self, x):
        return super().forward(x if x.sum().item() > 0 else -x)

class Fixed(Net):
    def forward(self, x):
        return super().forward(x).reshape(len(x), 10)

class NotANetwork:
    pass
"""
JOB = {
    "model": "mine",
    "data": {"use": "digits"},
    "architecture": {"use": "tiny_nets.net:Net", "config": {"hidden": 16}},
    "training": {"epochs": 15, "learning_rate": 0.01},
}


def write_package(folder: Path) -> Path:
    """`folder`, with the package `tiny_nets` in it and something that is not of the package."""
    (folder / "tiny_nets").mkdir(parents=True)
    (folder / "tiny_nets" / "__init__.py").touch()
    (folder / "tiny_nets" / "layers.py").write_text("def scaled(x):\n    return x / 16\n")
    (folder / "tiny_nets" / "net.py").write_text(NET)
    (folder / "data.bin").write_bytes(b"not of the package")
    return folder


def submitted(store: Store, package: Path, **fields: object) -> dict[str, object]:
    """`JOB` with other `fields`, as it is accepted: with the digest of its code."""
    job = JOB | fields
    packed = code_of(TrainJob.parse(dict(job), source="job"), folder=package)
    assert packed is not None
    return job | {"code": keep_code(store, packed)}


def forget() -> None:
    """As in a process that never imported it."""
    sys.path[:] = [entry for entry in sys.path if "raymaas-code" not in entry]
    for name in [name for name in sys.modules if name.startswith("tiny_nets")]:
        del sys.modules[name]
