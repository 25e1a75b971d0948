"""What the training loop costs beside loops written by hand, and what a second worker brings.

Same network, same rows shaped as MNIST (28 x 28, ten classes, made up, so nothing is downloaded), one thread.
Every round runs each loop in turn; ratios are taken within a round, and their median and spread printed. An
epoch counts from the second on. The loops of one thread are timed by their CPU seconds, which others on the
machine disturb less; two workers by the clock on the wall.
"""

from __future__ import annotations

import importlib.util
import multiprocessing
import statistics
import tempfile
import time
from collections.abc import Callable
from multiprocessing.queues import Queue
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn.functional import cross_entropy
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader, TensorDataset

from raymaas.data.rows import Rows
from raymaas.data.split import Parts
from raymaas.specs.jobs import Training
from raymaas.train.loop import fit
from raymaas.train.world import World

ROUNDS, EPOCHS, BATCH = 5, 2, 128
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


def lenet() -> nn.Module:
    return nn.Sequential(
        *(nn.Unflatten(1, (1, 28)), nn.Conv2d(1, 6, 5, padding=2), nn.Tanh(), nn.AvgPool2d(2)),
        *(nn.Conv2d(6, 16, 5), nn.Tanh(), nn.AvgPool2d(2), nn.Flatten()),
        *(nn.Linear(400, 120), nn.Tanh(), nn.Linear(120, 84), nn.Tanh(), nn.Linear(84, 10)),
    )


def parts(rows: int) -> Parts:
    generator = np.random.default_rng(0)
    y_N = generator.integers(0, 10, rows)
    x_ND = generator.random((rows, 28, 28), dtype=np.float32) + y_N[:, None, None].astype(np.float32) / 20
    train = Rows(x_ND=x_ND, y_N=y_N, id_N=np.arange(rows))
    few = train.take(np.arange(BATCH))
    return Parts(train=train, validation=few, test=few, fingerprint="")


def main() -> None:
    torch.set_num_threads(1)
    print(
        f"torch {torch.__version__}, one thread, batches of {BATCH}; median of {ROUNDS} rounds (min to max)"
    )
    report("MLP 784-128-10, 20,000 rows", mlp, parts(20_000))
    report("CNN 5x5-32, 5x5-64, 1024; 640 rows", cnn, parts(640))
    for package in ("skorch", "lightning"):
        if importlib.util.find_spec(package) is None:
            print(f"{package}: not installed, no dependency of ours; left out")
    report_two_workers("LeNet-5, 2,560 rows", lenet, parts(2_560))


def report(what: str, network: Network, data: Parts) -> None:
    loops = {
        "raymaas": ours,
        "tensors in memory, fused Adam": fused,
        "tensors in memory, Adam": plain,
        "DataLoader, Adam": loader,
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
    return ours_in(World.single(), network, data, clock=time.process_time)


def ours_in(world: World, network: Network, data: Parts, *, clock: Callable[[], float]) -> float:
    training = Training(epochs=EPOCHS, batch_size=BATCH)
    return steady([r.seconds for r in fit(network, training, parts=data, world=world, clock=clock).history])


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


def report_two_workers(what: str, network: Network, data: Parts) -> None:
    """One worker with one thread, two of them over gloo, and two that do not speak: what they lose is the talk."""
    context = multiprocessing.get_context("spawn")
    rounds: Queue[tuple[float, float, float]] = context.Queue()
    with tempfile.TemporaryDirectory() as folder:
        processes = [
            context.Process(target=one_of_two, args=(rank, folder, network, data, rounds), daemon=True)
            for rank in range(2)
        ]
        for process in processes:
            process.start()
        alone, together, mute = zip(*(rounds.get(timeout=300) for _ in range(ROUNDS)), strict=True)
        for process in processes:
            process.join(60)
    gains = [one / two for one, two in zip(alone, together, strict=True)]
    shares = [1 - silent / two for silent, two in zip(mute, together, strict=True)]
    print(f"\n{what}: one worker {len(data.train) / statistics.median(alone):,.0f} samples/s")
    print(f"  two workers on two cores: {spread(gains)} times it, {spread(shares)} of the time communication")


def one_of_two(
    rank: int, folder: str, network: Network, data: Parts, rounds: Queue[tuple[float, float, float]]
) -> None:
    torch.set_num_threads(1)
    meet = (Path(folder) / "meet").as_uri()
    torch.distributed.init_process_group("gloo", init_method=meet, rank=rank, world_size=2)

    def all_reduce(tensor: torch.Tensor) -> torch.Tensor:
        summed = tensor.clone()
        torch.distributed.all_reduce(summed)
        return summed

    def world(wrap: Callable[[nn.Module], nn.Module]) -> World:
        return World(rank=rank, size=2, device=torch.device("cpu"), all_reduce=all_reduce, wrap=wrap)

    wall = time.perf_counter
    for _ in range(ROUNDS):
        alone = ours_in(World.single(), network, data, clock=wall) if rank == 0 else 0.0
        torch.distributed.barrier()
        together = ours_in(world(DistributedDataParallel), network, data, clock=wall)
        mute = ours_in(world(lambda module: module), network, data, clock=wall)
        if rank == 0:
            rounds.put((alone, together, mute))
    torch.distributed.destroy_process_group()


def timed(epoch: Callable[[], None]) -> float:
    begun = time.process_time()
    epoch()
    return time.process_time() - begun


def steady(epochs: list[float]) -> float:
    """Seconds of an epoch once it runs: the first one warms up."""
    return statistics.fmean(epochs[1:])


def spread(values: list[float]) -> str:
    return f"{statistics.median(values):.2f} ({min(values):.2f} to {max(values):.2f})"
