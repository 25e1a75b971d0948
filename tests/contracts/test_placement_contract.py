"""PlacementContract: every family trains the same on one worker and on several, however the network lies on them."""

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
import torch
from families import FAMILIES, FLAT, NAMES, C, resolved, rows
from training_workers import Case, together

from raymaas.data.rows import Rows
from raymaas.data.split import Parts
from raymaas.models.chain import links, through, units
from raymaas.models.networks import Network
from raymaas.specs.jobs import Component, Training
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


LONGER = TRAINING.model_copy(update={"epochs": 2})
REGRESSORS = ("mlp_regressor", "chained_networks:Ladder")
OWN = [
    Component(use="chained_networks:Stack", config={"in_features": 12, "classes": C}),
    Component(use="chained_networks:Around", config={"in_features": 12, "classes": C}),
    Component(use="chained_networks:Ladder", config={"in_features": 12}),
    Component(use="chained_networks:Mirror", config={"in_features": 12, "classes": C}),
]
SHARED = "cnn 12x12"
UNCUT = ("gan", "linear_svm", "logistic", "rbf_svm", "vae")
TIED = {
    "gpt": {"embed.weight"},
    "chained_networks:Ladder": {"network.down.weight"},
    "chained_networks:Mirror": {"network.second.weight"},
}


def some_rows(use: str, row: tuple[int, ...], count: int, *, seed: int) -> Rows:
    y_N = np.arange(count) % C
    if use in REGRESSORS:
        y_N = y_N.astype(np.float32)
    return Rows(x_ND=rows(use, count, row, seed=seed).numpy(), y_N=y_N, id_N=np.arange(count))


def case(component: Component, row: tuple[int, ...]) -> Case:
    train, validation = (some_rows(component.use, row, count, seed=seed) for count, seed in ((23, 1), (9, 2)))
    return Case(
        component, TRAINING, Parts(train=train, validation=validation, test=validation, fingerprint="")
    )


def network(name: str) -> Network:
    return CASES[name].start()


CASES = {
    name: case(resolved(use, row, config), row)
    for name, (use, row, config) in zip(NAMES, FAMILIES, strict=True)
} | {component.use: case(component, FLAT) for component in OWN}
CUT = [name for name, each in CASES.items() if each.architecture.use not in UNCUT]
TUNED = replace(
    CASES["gpt 9"],
    training=TRAINING.model_copy(update={"frozen": ("embed.*", "blocks.0.*")}),
    origin={name: 1.1 * weight for name, weight in network("gpt 9").state_dict().items()},
)


@pytest.fixture(scope="module")
def alone():
    """What one worker makes of each case."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield {name: each.alone() for name, each in (CASES | {"tuned": TUNED}).items()}
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def on_two(alone, tmp_path_factory):
    """What two workers make of each case, by strategy and name: their checkpoints."""
    cases = {f"ddp {name}": each for name, each in CASES.items()}
    cases |= {f"shared {name}": replace(each, one_machine=True) for name, each in CASES.items()}
    cases |= {f"fsdp {name}": replace(each, strategy="fsdp") for name, each in CASES.items()}
    cases |= {f"pipeline {name}": replace(CASES[name], strategy="pipeline") for name in CUT}
    cases |= {
        f"pipeline from one {name}": replace(
            CASES[name], strategy="pipeline", training=LONGER, resume=alone[name].to_files()
        )
        for name in CUT
    }
    cases["shared in pieces from one"] = replace(
        CASES[SHARED],
        one_machine=True,
        training=LONGER.model_copy(update={"accumulate": 3}),
        resume=alone[SHARED].to_files(),
    )
    cases |= {f"{strategy} tuned": replace(TUNED, strategy=strategy) for strategy in ("fsdp", "pipeline")}
    return together(cases, size=2, folder=tmp_path_factory.mktemp("two"))


@pytest.fixture(scope="module")
def on_four(tmp_path_factory):
    """What four workers make of each case through shared memory."""
    cases = {name: replace(each, one_machine=True) for name, each in CASES.items()}
    return together(cases, size=4, folder=tmp_path_factory.mktemp("four"))


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
    for many in (*on_two[f"ddp {name}"], *on_two[f"shared {name}"], *on_four[name]):
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
def test_one_worker_goes_on_where_two_halves_were_and_two_halves_where_one_was(name, on_two):
    straight = replace(CASES[name], training=LONGER).alone()
    (halves, _) = on_two[f"pipeline {name}"]
    assert_same(straight, replace(CASES[name], training=LONGER, resume=halves.to_files()).alone())
    assert_same(straight, on_two[f"pipeline from one {name}"][0])


def test_shared_memory_carries_on_what_one_worker_began_also_in_pieces(on_two):
    straight = replace(CASES[SHARED], training=LONGER).alone()
    for many in on_two["shared in pieces from one"]:
        assert_same(straight, many)


@pytest.mark.parametrize("strategy", ["fsdp", "pipeline"])
def test_a_version_with_a_tied_weight_is_fine_tuned_with_parts_of_it_frozen(strategy, alone, on_two):
    (tuned, _) = on_two[f"{strategy} tuned"]
    assert_same(alone["tuned"], tuned)
    for name, weight in tuned.weights.items():
        kept = name.startswith(("embed.", "blocks.0."))
        assert torch.equal(weight, TUNED.origin[name]) == kept, name


@pytest.mark.parametrize("name", CUT)
def test_a_chain_does_what_its_network_does_with_all_its_weights_of_which_only_tied_ones_are_in_two_links(
    name,
):
    made = network(name).eval()
    chain = links(made)
    linked = Counter(weight for link in chain for weight in link.parameters)
    assert set(linked) == set(made.parameters())
    assert not list(made.buffers())
    tied = {name for name, weight in made.named_parameters() if linked[weight] > 1}
    assert tied == TIED.get(CASES[name].architecture.use, set())
    x_BD = torch.tensor(CASES[name].parts.train.x_ND)
    torch.testing.assert_close(through(chain, x_BD, x_BD), made(x_BD), rtol=0, atol=0)


@pytest.mark.parametrize("name", CUT)
def test_what_is_gathered_on_its_own_is_a_module_of_the_network_and_has_no_tied_weight(name):
    made = network(name)
    found = units(made)
    assert set(found) <= set(made.modules())
    is_own = ":" in name
    assert found or is_own, "all of it would be gathered at once"
    assert not (found and is_own), "modules of the user's own may write over what they are given"
    tied = {made.get_parameter(name) for name in TIED.get(CASES[name].architecture.use, set())}
    assert not tied & {weight for module in found for weight in module.parameters()}
