"""What recipes are tried on in tests: a little network that tells three clouds apart, and what goes with it."""

from typing import Any

import numpy as np
import torch

from raymaas.compress.passes.distill import transfer_key
from raymaas.compress.subject import Parent, answers_of, tensor_over
from raymaas.data.rows import Rows
from raymaas.jobs.ground import Ground
from raymaas.jobs.yardsticks import TASK_ALONE
from raymaas.models import catalogue
from raymaas.models.base import classifier_signature
from raymaas.specs.compression import CompressJob
from raymaas.specs.facts import Facts
from raymaas.specs.jobs import Component
from raymaas.specs.versions import TensorSpec

D, CLASSES = 12, ("a", "b", "c")
INPUT = TensorSpec(name="x", dtype="FP32", shape=(-1, D))
FACTS = Facts(input=INPUT, classes=CLASSES)
ARCHITECTURE = catalogue.resolve(Component(use="mlp", config={"hidden": [32], "dropout": 0.3}), FACTS)
MORE = Component(use="blobs", config={})


def drawn_rows(count: int, *, seed: int) -> Rows:
    """Three clouds, read-only as Ray's object store gives them."""
    random = np.random.default_rng(seed)
    y_N = np.arange(count) % 3
    x_ND = random.normal(size=(count, D)).astype(np.float32)
    x_ND[np.arange(count), y_N] += 4
    for array in (x_ND, y_N):
        array.setflags(write=False)
    return Rows(x_ND=x_ND, y_N=y_N, id_N=np.arange(count))


def clouds() -> Ground:
    """Of a trained parent, and with another teacher and some rows without labels beside it."""
    train, random = drawn_rows(192, seed=0), np.random.default_rng(1)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network, other = catalogue.build(ARCHITECTURE), catalogue.build(ARCHITECTURE)
        for one in (network, other):
            optimizer = torch.optim.Adam(one.parameters(), lr=0.02)
            for _ in range(30):
                optimizer.zero_grad()
                loss = torch.nn.functional.cross_entropy(
                    one(torch.tensor(train.x_ND)), torch.tensor(train.y_N)
                )
                loss.backward()
                optimizer.step()
    answers_N = answers_of(network.eval(), tensor_over(train.x_ND)).numpy()
    answers_N.setflags(write=False)
    return Ground(
        parent=Parent(network, ARCHITECTURE, FACTS, teachers={"other@1": other.eval()}),
        transfer={transfer_key(MORE): random.normal(size=(64, D)).astype(np.float32)},
        train=train,
        answers_N=answers_N,
        validation=drawn_rows(96, seed=2),
        signature=classifier_signature(INPUT, CLASSES),
        transforms=None,
        yardsticks=TASK_ALONE,
        original_bytes=10_000,
    )


def compress_job(*passes: dict[str, Any]) -> CompressJob:
    return CompressJob(model="m", recipe=passes, fine_tuning={"batch_size": 32})
