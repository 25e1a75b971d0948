"""`make gpu`: the tests that need a GPU, and a ResNet-18 in bf16 beside plain PyTorch. Without one it says so.

The rows are made up, 224 x 224 in three colours and a thousand classes, and lie on the GPU for both loops. Every
round runs both in turn; an epoch counts from the second on.
"""

from __future__ import annotations

import statistics
import sys
import time
from functools import partial

import numpy as np
import pytest
import torch
from torch.nn.functional import cross_entropy

from raymaas.data.rows import Rows
from raymaas.data.split import Parts
from raymaas.models import catalogue
from raymaas.models.networks import Network
from raymaas.specs.facts import Facts
from raymaas.specs.jobs import Component, Training
from raymaas.specs.versions import TensorSpec
from raymaas.train.loop import fit
from raymaas.train.world import World

ROWS, BATCH, ROUNDS, EPOCHS = 2048, 128, 3, 3
FACTS = Facts(
    input=TensorSpec(name="x", dtype="FP32", shape=(-1, 3, 224, 224)),
    classes=tuple(str(index) for index in range(1000)),
)
RESNET_18 = Component(
    use="resnet", config={"widths": [64, 128, 256, 512], "blocks": [2, 2, 2, 2], "stem": "7x7"}
)


def main() -> int:
    if not torch.cuda.is_available():
        print("there is no GPU here, so there is nothing to check; torch", torch.__version__)
        return 0
    print(torch.cuda.get_device_name(), "torch", torch.__version__)
    if failed := pytest.main(["-q", "tests/gpu"]):
        return int(failed)
    component = catalogue.resolve(RESNET_18, FACTS)
    build, data = partial(catalogue.build, component), rows()
    ratios = []
    print(f"{'round':>5} {'raymaas images/s':>17} {'plain images/s':>15} {'ratio':>6}")
    for number in range(1, ROUNDS + 1):
        ours, plain = ours_per_s(build, data), plain_per_s(build, data)
        ratios.append(ours / plain)
        print(f"{number:>5} {ours:>17,.0f} {plain:>15,.0f} {ratios[-1]:>6.2f}")
    print(f"median ratio {statistics.median(ratios):.2f}")
    return 0


def rows() -> Parts:
    draw = np.random.default_rng(0)
    train = Rows(
        x_ND=draw.normal(size=(ROWS, 3, 224, 224)).astype(np.float32),
        y_N=draw.integers(0, 1000, ROWS),
        id_N=np.arange(ROWS),
    )
    few = train.take(np.arange(BATCH))
    return Parts(train=train, validation=few, test=few, fingerprint="0" * 64)


def ours_per_s(build: partial[Network], data: Parts) -> float:
    training = Training(
        epochs=EPOCHS, batch_size=BATCH, optimizer="sgd", momentum=0.9, learning_rate=0.01, keep="last"
    )
    began: list[float] = []

    def clock() -> float:
        torch.cuda.synchronize()
        began.append(time.perf_counter())
        return began[-1]

    done = fit(build, training, parts=data, world=World.single("cuda"), clock=clock)
    return statistics.median(report.rows / report.seconds for report in done.history[1:])


def plain_per_s(build: partial[Network], data: Parts) -> float:
    network = build().cuda()
    optimizer = torch.optim.SGD(network.parameters(), lr=0.01, momentum=0.9, fused=True)
    x_N, y_N = torch.tensor(data.train.x_ND, device="cuda"), torch.tensor(data.train.y_N, device="cuda")
    held = [torch.tensor(part, device="cuda") for part in (data.validation.x_ND, data.validation.y_N)]
    rates = []
    for _ in range(EPOCHS):
        torch.cuda.synchronize()
        started = time.perf_counter()
        for batch in torch.randperm(ROWS, device="cuda").split(BATCH):
            optimizer.zero_grad()
            with torch.autocast("cuda", dtype=torch.bfloat16):
                loss = cross_entropy(network(x_N[batch]), y_N[batch])
            loss.backward()
            optimizer.step()
        with torch.no_grad(), torch.autocast("cuda", dtype=torch.bfloat16):
            float(cross_entropy(network(held[0]), held[1]))
        torch.cuda.synchronize()
        rates.append(ROWS / (time.perf_counter() - started))
    return statistics.median(rates[1:])


if __name__ == "__main__":
    sys.exit(main())
