import os
import signal
import tempfile
import time
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel
from training_workers import GlooWorld, on_workers

from raymaas.train.placement import shared_memory
from raymaas.train.placement.shared_memory import Averaging, can_share
from raymaas.train.placement.whole import Whole
from raymaas.train.world import World


class Net(nn.Module):
    """With a weight that only some workers use, one that nobody uses, and buffers that training changes."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first, self.some, self.nobody = nn.Linear(5, 4), nn.Linear(4, 4), nn.Linear(2, 2)
        self.norm = nn.BatchNorm1d(4)

    def forward(self, x_BD: torch.Tensor, *, some: bool) -> torch.Tensor:
        z_BD = self.norm(self.first(x_BD))
        return self.some(z_BD) if some else z_BD


def inputs(rank: int, step: int) -> torch.Tensor:
    return torch.randn(6, 5, generator=torch.Generator().manual_seed(10 * step + rank))


def after_two_steps(world: GlooWorld) -> tuple[dict[str, np.ndarray | None], dict[str, np.ndarray]]:
    """The gradients of two steps added up, and the buffers."""
    here = world("ddp", one_machine=True)
    net = Net()
    average = Averaging.between(net, here)
    assert average is not None
    total: dict[str, np.ndarray | None] = {}
    for step in range(2):
        net.zero_grad()
        net(inputs(here.rank, step), some=here.rank == 0).square().sum().backward()
        average()
        for name, weight in net.named_parameters():
            grad = None if weight.grad is None else weight.grad.numpy().copy()
            total[name] = grad if step == 0 or grad is None else grad + total[name]
    return total, {name: buffer.numpy() for name, buffer in net.named_buffers()}


@pytest.mark.parametrize("size", [2, 3])
def test_gradients_are_the_mean_over_the_workers_and_buffers_are_those_of_the_first(
    size: int, tmp_path: Path
) -> None:
    nets = [Net() for _ in range(size)]
    mean: dict[str, torch.Tensor] = {}
    for step in range(2):
        for rank, net in enumerate(nets):
            net.zero_grad()
            net(inputs(rank, step), some=rank == 0).square().sum().backward()
            for name, weight in net.named_parameters():
                if weight.grad is not None:
                    mean[name] = mean.get(name, torch.zeros(())) + weight.grad / size

    done = on_workers(after_two_steps, size=size, folder=tmp_path)

    for gradients, buffers in done:
        assert {name for name, gradient in gradients.items() if gradient is None} == {
            "nobody.weight",
            "nobody.bias",
        }
        for name, gradient in mean.items():
            np.testing.assert_allclose(gradients[name], gradient.numpy(), rtol=1e-5, atol=1e-6)
            np.testing.assert_array_equal(gradients[name], done[0][0][name])
        assert buffers.keys() == dict(nets[0].named_buffers()).keys()
        for name, buffer in nets[0].named_buffers():
            np.testing.assert_allclose(buffers[name], buffer.numpy(), rtol=1e-6)


def drawn_elsewhere(world: GlooWorld) -> np.ndarray:
    """The weights of a network whose numbers did not come from torch's generator, as they lie after placing it."""
    here = world("ddp", one_machine=True)
    net = Net()
    with torch.no_grad():
        net.first.weight.fill_(here.rank)
    placed = Whole(net, here)
    assert not isinstance(placed.model, DistributedDataParallel)
    return net.first.weight.detach().numpy().copy()


def test_all_workers_begin_with_the_weights_of_the_first(tmp_path: Path) -> None:
    for weight in on_workers(drawn_elsewhere, size=2, folder=tmp_path):
        assert not weight.any()


def a_door_that_is_too_far(folder: Path, world: GlooWorld) -> bool:
    tempfile.tempdir = str(folder)
    return Averaging.between(Net(), world("ddp", one_machine=True)) is None


def test_a_folder_whose_name_is_too_long_for_a_socket_is_told_to_all_workers(tmp_path: Path) -> None:
    far = tmp_path / ("far" * 40)
    far.mkdir()
    assert on_workers(partial(a_door_that_is_too_far, far), size=2, folder=tmp_path) == [True, True]


def without_memory(world: GlooWorld) -> bool:
    def refuse(size: int) -> None:
        raise OSError(28, f"no space for {size} bytes")

    shared_memory._memory = refuse
    return Averaging.between(Net(), world("ddp", one_machine=True)) is None


def test_too_little_memory_is_told_to_all_workers(tmp_path: Path) -> None:
    assert on_workers(without_memory, size=2, folder=tmp_path) == [True, True]


def bereft(folder: Path, world: GlooWorld) -> str:
    here = world("ddp", one_machine=True)
    average = Averaging.between(Net(), here)
    assert average is not None
    if here.rank == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    try:
        average()
    except (RuntimeError, OSError) as error:
        (folder / f"told {here.rank}").write_text(str(error))
    return ""


def test_a_worker_that_is_gone_is_an_error_at_once(tmp_path: Path) -> None:
    with pytest.raises(EOFError):
        on_workers(partial(bereft, tmp_path), size=3, folder=tmp_path)

    for rank in (0, 2):
        assert wait_for(tmp_path / f"told {rank}") == "another worker of this training is gone"


def wait_for(file: Path) -> str:
    """What the file says, which another process writes within seconds."""
    end = time.monotonic() + 30
    while not (file.exists() and file.read_text()) and time.monotonic() < end:
        time.sleep(0.05)
    return file.read_text()


def leftovers(folder: Path, world: GlooWorld) -> list[str]:
    tempfile.tempdir = str(folder)
    average = Averaging.between(Net(), world("ddp", one_machine=True))
    assert average is not None
    torch.distributed.barrier()
    return os.listdir(folder)


def test_nothing_is_left_on_the_disk(tmp_path: Path) -> None:
    folder = tmp_path / "temporary"
    folder.mkdir()

    assert on_workers(partial(leftovers, folder), size=2, folder=tmp_path) == [[], []]


@pytest.mark.parametrize(
    ("world", "network"),
    [
        (World.single(), nn.Linear(2, 2)),
        (World(0, 2, torch.device("cpu"), lambda t: t, lambda m: m), nn.Linear(2, 2)),
        (World(0, 2, torch.device("cuda"), lambda t: t, lambda m: m, one_machine=True), nn.Linear(2, 2)),
        (
            World(0, 2, torch.device("cpu"), lambda t: t, lambda m: m, one_machine=True),
            nn.Linear(2, 2).double(),
        ),
    ],
    ids=["one worker", "several machines", "GPUs", "not float32"],
)
def test_what_it_is_not_for(world: World, network: nn.Module) -> None:
    assert not can_share(network, world)
