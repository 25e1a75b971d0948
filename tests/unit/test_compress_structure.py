"""Narrower and thinner networks: which units stay, the nearest matrix of a rank, and what is left as it is."""

import numpy as np
import pytest
import torch

from raymaas.compress.narrowing import narrowed
from raymaas.compress.passes.channels import kept_units
from raymaas.compress.passes.lowrank import factors, rank_with, saves
from raymaas.compress.recipe import carry_out, passes_of
from raymaas.compress.subject import Parent, Subject
from raymaas.data.rows import Rows
from raymaas.errors import InvalidInput
from raymaas.models import catalogue
from raymaas.models.widths import Along, Setting, Width
from raymaas.specs.compression import FineTuning
from raymaas.specs.facts import Facts
from raymaas.specs.jobs import Component
from raymaas.specs.versions import TensorSpec

FACTS = Facts(input=TensorSpec(name="x", dtype="FP32", shape=(-1, 12)), classes=("a", "b", "c"))
MLP = catalogue.resolve(Component(use="mlp", config={"hidden": [16, 8], "dropout": 0.2}), FACTS)


def width(units: int, name: str) -> Width:
    return Width(units, (Setting((name,)),), ())


def rows() -> Rows:
    """Three clouds."""
    random = np.random.default_rng(0)
    y_N = np.arange(90) % 3
    x_ND = random.normal(size=(90, 12)).astype(np.float32)
    x_ND[np.arange(90), y_N] += 4
    return Rows(x_ND=x_ND, y_N=y_N, id_N=np.arange(90))


@pytest.fixture(scope="module")
def parent() -> Parent:
    """A network that tells them apart."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = catalogue.build(MLP)
    x_ND, y_N = torch.tensor(rows().x_ND), torch.tensor(rows().y_N)
    optimizer = torch.optim.Adam(network.parameters(), lr=0.02)
    for _ in range(60):
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(network(x_ND), y_N).backward()
        optimizer.step()
    return Parent(network.eval(), MLP, FACTS)


@pytest.fixture
def trained(parent: Parent) -> Subject:
    return Subject.of(parent, rows(), FineTuning(alpha=0, learning_rate=0.01, batch_size=30), seed=0)


def right(trained: Subject) -> float:
    with torch.no_grad():
        found_N = trained.network.eval()(trained.x_ND).argmax(dim=1)
    return float((found_N == trained.y_N).float().mean())


def test_each_width_keeps_its_share_of_the_most_valuable():
    worth = {
        width(4, "a"): torch.tensor([3.0, 1.0, 4.0, 2.0]),
        width(2, "b"): torch.tensor([0.1, 0.2]),
        width(1, "c"): torch.tensor([0.0]),
    }
    assert list(kept_units(worth, keep=0.5, scope="layer").values()) == [[0, 2], [1], [0]]


def test_over_all_widths_the_even_one_keeps_more_than_the_one_that_lives_off_few_units():
    lopsided, even = torch.tensor([9.0, 0.1, 0.1, 0.1]), torch.tensor([1.0, 1.0, 1.0, 0.9])
    kept = kept_units({width(4, "a"): lopsided, width(4, "b"): even}, keep=0.5, scope="global")
    assert list(kept.values()) == [[0], [0, 1, 2]]


@pytest.mark.parametrize("scope", ["layer", "global"])
def test_widths_with_one_setting_keep_as_many_and_may_keep_others(scope):
    blocks = [Width(4, (Setting(("heads",)),), (Along(f"blocks.{place}"),)) for place in range(2)]
    first, second = torch.tensor([4.0, 3.0, 0.0, 0.0]), torch.tensor([0.0, 0.0, 3.0, 4.0])
    tied = dict(zip(blocks, (first, second), strict=True))
    assert list(kept_units(tied, keep=0.5, scope=scope).values()) == [[0, 1], [2, 3]]
    assert [len(units) for units in kept_units(tied, keep=0.05, scope=scope).values()] == [1, 1]


def test_a_narrower_network_has_the_share_asked_for_no_dropout_and_learns_to_do_with_it(trained):
    assert right(trained) > 0.95
    carry_out([Component(use="channels", config={"keep": 0.5, "epochs": 30})], trained)
    assert trained.architecture.config["hidden"] == [8, 4]
    assert [tuple(w.parameter.shape) for w in trained.matrices.values()] == [(8, 12), (4, 8), (3, 4)]
    assert all(m.p == 0 for m in trained.network.modules() if isinstance(m, torch.nn.Dropout))
    assert right(trained) > 0.9


def test_keeping_all_units_changes_no_answer(trained):
    (keep_all,) = passes_of([Component(use="channels", config={"keep": 1, "epochs": 0})])
    with torch.no_grad():
        before = trained.network(trained.x_ND)
        keep_all.apply(trained)
        assert torch.equal(trained.network(trained.x_ND), before)
    assert trained.architecture == MLP


@pytest.mark.parametrize("shape", [(12, 30), (30, 12), (8, 3, 5, 5), (6, 4, 3), (5, 2, 3, 3, 3)])
def test_no_matrix_of_the_rank_is_nearer_and_the_rest_of_the_singular_values_is_what_is_off(shape):
    weight = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    matrix = weight.flatten(start_dim=1)
    singular = torch.linalg.svdvals(matrix)
    for rank in range(1, len(singular) + 1):
        first, second = factors(weight, rank)
        assert first.shape == (rank, *shape[1:])
        assert second.shape == (shape[0], rank, *[1] * (len(shape) - 2))
        product = second.flatten(start_dim=1) @ first.flatten(start_dim=1)
        off = float((product - matrix).square().sum())
        assert off == pytest.approx(float(singular[rank:].square().sum()), rel=1e-3, abs=1e-6)
        assert float(first.norm()) == pytest.approx(float(second.norm()), rel=1e-4)


def test_the_rank_is_the_least_that_has_the_energy():
    singular = torch.tensor([3.0, 2.0, 1.0, 0.0])  # squares 9, 4, 1, 0 of 14
    assert [rank_with(singular, share) for share in (0.01, 9 / 14, 0.65, 0.93, 1.0)] == [1, 1, 2, 3, 3]
    assert rank_with(torch.zeros(3), 0.5) == 1


def test_two_thin_matrices_save_weights_only_below_a_rank():
    assert saves((300, 784), 216)
    assert not saves((300, 784), 217)


def test_only_large_layers_that_save_weights_are_factored(trained):
    carry_out([Component(use="lowrank", config={"rank": 5, "least": 100, "epochs": 20})], trained)
    assert trained.architecture.config["ranks"] == {"hidden.0": 5, "hidden.1": 5}
    assert right(trained) > 0.95


def test_where_nothing_is_saved_the_network_stays_and_without_large_layers_the_pass_is_refused(trained):
    carry_out([Component(use="lowrank", config={"energy": 1, "least": 1, "epochs": 0})], trained)
    assert trained.architecture == MLP
    with pytest.raises(
        InvalidInput, match="no linear or convolutional layer of 1024 weights or more in 'mlp'"
    ):
        carry_out([Component(use="lowrank")], trained)


def test_what_is_factored_is_not_factored_again_nor_narrowed(trained):
    carry_out([Component(use="lowrank", config={"rank": 2, "least": 1, "epochs": 0})], trained)
    with pytest.raises(InvalidInput, match="factored already; leave the pass out, or compress the version"):
        carry_out([Component(use="lowrank", config={"least": 1})], trained)
    with pytest.raises(InvalidInput, match="no units to take out of 'factored'"):
        carry_out([Component(use="channels", config={"keep": 0.5})], trained)


def test_a_rank_and_an_energy_together_are_refused(trained):
    with pytest.raises(InvalidInput, match="both say how thin; name one of them"):
        carry_out([Component(use="lowrank", config={"rank": 4, "energy": 0.5})], trained)


IMAGE = {"shape": [12, 12], "classes": 3}


@pytest.mark.parametrize(
    ("use", "config", "said"),
    [
        ("resnet", {**IMAGE, "widths": [8, 12], "blocks": [1, 1]}, {"norm_groups": [8, 4]}),
        ("mobilenet", {**IMAGE, "stem": 6, "blocks": [[16, 2]]}, {"norm_groups": [2, 8]}),
        ("vit", {**IMAGE, "patch": 4, "width": 16, "heads": 2}, {"attention": 16}),
    ],
)
def test_components_from_before_there_was_a_narrower_one_build_the_same_network(use, config, said):
    networks = []
    for settings in (config, config | said):
        with torch.random.fork_rng():
            torch.manual_seed(3)
            networks.append(catalogue.build(Component(use=use, config=settings)))
    one, other = networks
    assert one.state_dict().keys() == other.state_dict().keys()
    x = torch.randn(2, 12, 12)
    with torch.no_grad():
        assert torch.equal(one(x), other(x))
    narrower, state = narrowed(
        Component(use=use, config=config),
        one.state_dict(),
        {width: [0] for width in catalogue.config_of(Component(use=use, config=config)).narrowable()},
    )
    catalogue.build(narrower).load_state_dict(state)
    assert all(narrower.config[name] != before for name, before in said.items())
    with pytest.raises(InvalidInput, match=r"must (give|divide)"):
        catalogue.build(
            Component(
                use=use, config=config | {k: [5] if isinstance(v, list) else 5 for k, v in said.items()}
            )
        )


def test_a_narrowed_setting_is_written_where_the_config_has_it():
    assert Setting(("layers", 0), before="conv5x5-").value(7) == "conv5x5-7"
    assert Setting(("widths", 1), each=4).value(3) == 12
