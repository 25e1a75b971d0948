"""What the training loop costs beside loops written by hand.

Same network, same rows shaped as MNIST (28 x 28, ten classes, made up, so nothing is downloaded), one thread.
Every round runs each loop in turn; ratios are taken within a round, and their median and spread printed. An
epoch counts from the second on. They are timed by their CPU seconds, which others on the machine disturb less.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from functools import partial

import numpy as np
import torch
from torch import nn
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader, TensorDataset

from raymaas.data.rows import Rows
from raymaas.data.split import Parts
from raymaas.models.own import OwnClassifier
from raymaas.specs.jobs import Training
from raymaas.train.loop import fit
from raymaas.train.world import World
from tests.bench.peers import with_lightning, with_skorch

ROUNDS, EPOCHS, BATCH = 5, 2, 128
VALIDATION_ROWS = 16  # the others have none
Network = Callable[[], nn.Module]
Loop = Callable[[Network, Parts], float]


def mlp() -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(784, 128), nn.ReLU(), nn.Linear(128, 10))


def cnn() -> nn.Module:
    return nn.Sequential(
        *(nn.Unflatten(1, (1, 28)), nn.Conv2d(1, 32, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Conv2d(32, 64, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten()),
        *(nn.Linear(64 * 7 * 7, 1024), nn.ReLU(), nn.Dropout(0.5), nn.Linear(1024, 10)),
    )


def parts(rows: int) -> Parts:
    generator = np.random.default_rng(0)
    y_N = generator.integers(0, 10, rows)
    x_ND = generator.random((rows, 28, 28), dtype=np.float32) + y_N[:, None, None].astype(np.float32) / 20
    train = Rows(x_ND=x_ND, y_N=y_N, id_N=np.arange(rows))
    few = train.take(np.arange(VALIDATION_ROWS))
    return Parts(train=train, validation=few, test=few, fingerprint="")


def main() -> None:
    torch.set_num_threads(1)
    print(
        f"torch {torch.__version__}, one thread, batches of {BATCH}; median of {ROUNDS} rounds (min to max)"
    )
    report("MLP 784-128-10, 20,000 rows", mlp, parts(20_000))
    report("CNN 5x5-32, 5x5-64, 1024; 1,280 rows", cnn, parts(1280))


def report(what: str, network: Network, data: Parts) -> None:
    loops = {
        "raymaas": ours,
        "tensors in memory, fused Adam": fused,
        "tensors in memory, Adam": plain,
        "DataLoader, Adam": loader,
        "skorch": partial(peer, with_skorch),
        "Lightning": partial(peer, with_lightning),
    }
    seconds = {name: [] for name in loops}
    for _ in range(ROUNDS):
        for name, loop in loops.items():
            seconds[name].append(loop(network, data))
    print(f"\n{what:<34}{'samples/s':>10}   raymaas is")
    for name, took in seconds.items():
        ratios = [theirs / own for theirs, own in zip(took, seconds["raymaas"], strict=True)]
        print(f"  {name:<32}{len(data.train) / statistics.median(took):>10,.0f}   {spread(ratios)} times it")


def ours(network: Network, data: Parts) -> float:
    """Seconds per epoch, its validation included."""
    training = Training(epochs=EPOCHS, batch_size=BATCH)
    done = fit(
        lambda: OwnClassifier(network()),
        training,
        parts=data,
        world=World.single(),
        clock=time.process_time,
    )
    return steady([report.seconds for report in done.history])


def fused(network: Network, data: Parts) -> float:
    return in_memory(network, data, fused=True)


def plain(network: Network, data: Parts) -> float:
    return in_memory(network, data, fused=False)


def in_memory(network: Network, data: Parts, *, fused: bool) -> float:
    x_N, y_N = torch.tensor(data.train.x_ND), torch.tensor(data.train.y_N)
    model = network()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3, fused=fused)

    def epoch() -> None:
        for batch_B in torch.randperm(len(x_N)).split(BATCH):
            optimizer.zero_grad()
            cross_entropy(model(x_N[batch_B]), y_N[batch_B]).backward()
            optimizer.step()

    return steady([timed(epoch) for _ in range(EPOCHS)])


def loader(network: Network, data: Parts) -> float:
    """The loop of the tutorials: it also sums up the loss it shows."""
    rows = TensorDataset(torch.tensor(data.train.x_ND), torch.tensor(data.train.y_N))
    batches = DataLoader(rows, batch_size=BATCH, shuffle=True)
    model = network()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)

    def epoch() -> None:
        total = 0.0
        for x_B, y_B in batches:
            optimizer.zero_grad()
            loss = cross_entropy(model(x_B), y_B)
            loss.backward()
            optimizer.step()
            total += loss.item() * len(x_B)

    return steady([timed(epoch) for _ in range(EPOCHS)])


def peer(way: Callable[..., list[float]], network: Network, data: Parts) -> float:
    return steady(way(network, data, epochs=EPOCHS, batch=BATCH))


def timed(epoch: Callable[[], None]) -> float:
    begun = time.process_time()
    epoch()
    return time.process_time() - begun


def steady(epochs: list[float]) -> float:
    """Seconds of an epoch once it runs: the first one warms up."""
    return statistics.fmean(epochs[1:])


def spread(values: list[float]) -> str:
    return f"{statistics.median(values):.2f} ({min(values):.2f} to {max(values):.2f})"
