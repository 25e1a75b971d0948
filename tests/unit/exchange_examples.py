"""What the exchange tests share: a small real version, a child of it, and forging a manifest in a folder."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import torch
from registry_examples import draft

from raymaas.bundle.format import BuiltBundle, build
from raymaas.exchange.identity import identity
from raymaas.models import catalogue
from raymaas.models.base import classifier_signature
from raymaas.registry.versions import Versions
from raymaas.specs.base import canonical_json, sha256_hex
from raymaas.specs.facts import Facts
from raymaas.specs.jobs import Component
from raymaas.specs.versions import CompressionLineage, ModelVersion, TensorSpec

INPUT = TensorSpec(name="x", dtype="FP32", shape=(-1, 12))
SIGNATURE = classifier_signature(INPUT, tuple("abcd"))
MLP = catalogue.resolve(
    Component(use="mlp", config={"hidden": [8]}), Facts(input=INPUT, classes=SIGNATURE.classes)
)


def rows(count: int, *, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(count, 12)).astype(np.float32)


@cache
def bundle() -> BuiltBundle:
    """Made once: the exporter takes seconds."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = catalogue.build(MLP)
    return build(network, architecture=MLP, signature=SIGNATURE, probes=rows(4))


def publish(
    versions: Versions, run_id: str = "train-small-1", *, part: str | None = None, **lineage: Any
) -> ModelVersion:
    """A version of `small` that can be opened and asked."""
    said = draft(run_id, model="small")
    changes = {
        "architecture": MLP,
        "signature": SIGNATURE,
        "lineage": said.lineage.model_copy(update=lineage),
        "description": "a small one",
        "part": part,
    }
    return versions.publish(said.model_copy(update=changes), bundle().files)


def publish_child(versions: Versions, parent: ModelVersion, run_id: str) -> ModelVersion:
    """A version that says it was compressed from `parent`."""
    above = parent.lineage.compression
    compression = CompressionLineage(
        recipe=(Component(use="prune"),),
        trial="t1",
        original=above.original if above else parent.version,
        original_bytes=parent.weights_bytes,
        parent_evaluation=parent.evaluation,
    )
    known = {"parent": parent.version, "parent_digest": identity(versions, parent)}
    return publish(versions, run_id, compression=compression, **known)


def forge(folder: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """Change the manifest in an exported folder, and give it a right digest again."""
    path = folder / "manifest.json"
    body = orjson.loads(path.read_bytes())
    del body["digest"]
    change(body)
    path.write_bytes(canonical_json(body | {"digest": sha256_hex(canonical_json(body))}))
