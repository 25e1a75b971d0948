"""PlacementContract: every family trains the same on one worker and on several, however the network lies on them."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from families import FAMILIES, NAMES, C, resolved, rows
from training_workers import Case, together

from raymaas.data.rows import Rows
from raymaas.data.split import Parts
from raymaas.models import catalogue
from raymaas.models.chain import Chained
from raymaas.specs.jobs import Training
from raymaas.train.checkpoint import Checkpoint

# 23 rows in batches of 10: the last one has 3, so that one of four workers has nothing to do.
TRAINING = Training(
    epochs=1,
    batch_size=10,
    optimizer="sgd",
    momentum=0.9,
    learning_rate=0.05,
    l2=0.01,
    clip_norm=0.5,
    deterministic=True,
)


def some_rows(use: str, row: tuple[int, ...], count: int, *, seed: int) -> Rows:
    y_N = np.arange(count) % C
    if catalogue.architecture(use).Config.task == "regression":
        y_N = y_N.astype(np.float32)
    return Rows(x_ND=rows(use, count, row, seed=seed).numpy(), y_N=y_N, id_N=np.arange(count))


def case(use: str, row: tuple[int, ...], config: dict[str, object]) -> Case:
    train, validation = some_rows(use, row, 23, seed=1), some_rows(use, row, 9, seed=2)
    parts = Parts(train=train, validation=validation, test=validation, fingerprint="")
    return Case(resolved(use, row, config), TRAINING, parts)


CASES = dict(zip(NAMES, (case(*family) for family in FAMILIES), strict=True))
CUT = [
    name for name, each in CASES.items() if issubclass(catalogue.architecture(each.architecture.use), Chained)
]


@pytest.fixture(scope="module")
def alone():
    """What one worker makes of each case."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield {name: each.alone() for name, each in CASES.items()}
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def on_two(tmp_path_factory):
    """What two workers make of each case, by strategy and name: the checkpoint of rank 0."""
    cases = {f"ddp {name}": each for name, each in CASES.items()}
    cases |= {f"fsdp {name}": replace(each, strategy="fsdp") for name, each in CASES.items()}
    cases |= {f"pipeline {name}": replace(CASES[name], strategy="pipeline") for name in CUT}
    return together(cases, size=2, folder=tmp_path_factory.mktemp("two"))


@pytest.fixture(scope="module")
def on_four(tmp_path_factory):
    return together(CASES, size=4, folder=tmp_path_factory.mktemp("four"))


def assert_same(one: Checkpoint, other: Checkpoint) -> None:
    """To rounding: the weights, the optimizer's state and what was told of the epoch."""
    assert other.weights.keys() == one.weights.keys()
    assert other.optimizer.keys() == one.optimizer.keys()
    for name, weight in one.weights.items():
        torch.testing.assert_close(other.weights[name], weight, rtol=1e-4, atol=1e-5)
    for place, values in one.optimizer.items():
        torch.testing.assert_close(dict(other.optimizer[place]), dict(values), rtol=1e-3, atol=1e-5)
    for mine, theirs in zip(one.history, other.history, strict=True):
        assert theirs.metrics() == pytest.approx(mine.metrics(), rel=1e-4, abs=1e-5)


@pytest.mark.parametrize("name", CASES)
def test_two_and_four_workers_train_as_one_does_also_what_is_drawn_by_chance(name, alone, on_two, on_four):
    for many in (*on_two[f"ddp {name}"], *on_four[name]):
        assert_same(alone[name], many)


@pytest.mark.parametrize("name", CASES)
def test_shards_on_two_workers_train_as_the_whole_on_one(name, alone, on_two):
    first, second = on_two[f"fsdp {name}"]
    assert_same(alone[name], first)
    assert not second.weights, "one full copy is enough"


@pytest.mark.parametrize("name", CUT)
def test_two_halves_train_as_the_whole_on_one(name, alone, on_two):
    first, second = on_two[f"pipeline {name}"]
    assert_same(alone[name], first)
    assert not second.weights, "one full copy is enough"


@pytest.mark.parametrize("name", CUT)
def test_the_links_of_a_chain_have_all_its_weights_each_once(name):
    network = catalogue.build(CASES[name].architecture)
    linked = [weight for link in network.chain() for weight in link.parameters]
    assert len(linked) == len(set(linked))
    assert set(linked) == set(network.parameters())
    assert not list(network.buffers())
