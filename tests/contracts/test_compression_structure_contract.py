"""StructureContract: every family gets narrower and thinner, and what is left computes what it computed before."""

import copy
from collections.abc import Mapping

import numpy as np
import pytest
import torch
from families import FAMILIES, NAMES, C, facts, resolved, rows

from raymaas.bundle.rmz.container import read, write
from raymaas.bundle.rmz.tensors import Coded
from raymaas.compress.narrowing import narrowed, values_of
from raymaas.compress.passes.lowrank import factored_state
from raymaas.compress.recipe import carry_out
from raymaas.compress.subject import Parent, Subject
from raymaas.data.rows import Rows
from raymaas.errors import InvalidInput
from raymaas.models import catalogue
from raymaas.models.factored import factorable, shape_of
from raymaas.models.networks import Network
from raymaas.specs.compression import FineTuning
from raymaas.specs.jobs import Component

COUNT = 12
WHOLE = ("factored", "linear_svm", "logistic", "rbf_svm")
PLAIN = [(family, name) for family, name in zip(FAMILIES, NAMES, strict=True) if family[0] != "factored"]
NARROW = [(family, name) for family, name in PLAIN if family[0] not in WHOLE]


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    """Networks this small only wait for a second one."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def drawn(component: Component) -> Network:
    """A network of it, away from a start at zero."""
    with torch.random.fork_rng():
        torch.manual_seed(1)
        network = catalogue.build(component)
        for parameter in network.parameters():
            parameter.data.add_(0.2 * torch.randn_like(parameter))
    return network.eval()


def subject_of(use: str, row: tuple[int, ...], config: dict[str, object]) -> Subject:
    component = resolved(use, row, config)
    y_N = np.arange(COUNT) % C
    if catalogue.task_of(component) == "regression":
        y_N = y_N.astype(np.float32)
    known = Rows(x_ND=rows(use, COUNT, row, seed=1).numpy(), y_N=y_N, id_N=np.arange(COUNT))
    parent = Parent(drawn(component), component, facts(use, row))
    return Subject.of(parent, known, FineTuning(batch_size=6), seed=0)


def answers(network: Network, x: torch.Tensor) -> list[torch.Tensor]:
    with torch.no_grad():
        return list(network.eval().infer(x))


def assert_served_as_trained(subject: Subject, tensors: Mapping[str, Coded]) -> None:
    """The file holds the network that was trained, and it answers rows."""
    file = read(write(subject.architecture, tensors))
    served = catalogue.build(file.architecture)
    served.load_state_dict({name: torch.from_numpy(array) for name, array in file.dense().items()})
    found, expected = answers(served, subject.x_ND), answers(subject.network, subject.x_ND)
    assert all(torch.equal(one, other) for one, other in zip(found, expected, strict=True))
    assert all(bool(torch.isfinite(output).all()) for output in found)


@pytest.mark.parametrize("family", [f for f, _ in NARROW], ids=[name for _, name in NARROW])
class TestNarrowing:
    def test_without_units_whose_weights_are_zero_a_network_computes_the_same(self, family):
        use, row, config = family
        component = resolved(use, row, config)
        network, x = drawn(component), rows(use, 5, row)
        as_it_was = answers(network, x)
        chance = torch.Generator().manual_seed(0)
        kept = {
            width: sorted(torch.randperm(width.units, generator=chance)[: width.units * 3 // 5].tolist())
            for width in catalogue.config_of(component).narrowable()
        }
        architecture, state = narrowed(component, network.state_dict(), kept)
        small = catalogue.build(architecture)
        small.load_state_dict(state)

        for width, units in kept.items():
            gone = [unit for unit in range(width.units) if unit not in units]
            for along in width.along:
                index = values_of(along, gone, of=width.units)
                network.state_dict()[along.tensor].index_fill_(along.dim, index, 0)
        expected = answers(network, x)

        for output, wanted in zip(answers(small, x), expected, strict=True):
            torch.testing.assert_close(output, wanted, rtol=1e-5, atol=1e-5)
        assert not torch.allclose(expected[0], as_it_was[0], atol=1e-3), "the units that went had a say"
        assert architecture.use == use
        assert architecture == catalogue.resolve(architecture, facts(use, row))

    def test_the_pass_leaves_a_narrower_network_that_can_be_pruned_quantized_and_served(self, family):
        subject = subject_of(*family)
        before = sum(weight.parameter.numel() for weight in subject.weights.values())
        recipe = [
            Component(use="channels", config={"keep": 0.5, "epochs": 1}),
            Component(use="prune", config={"sparsity": 0.5, "epochs": 1}),
            Component(use="quantize", config={"bits": 4, "epochs": 1}),
        ]

        compressed = carry_out(recipe, subject)

        assert sum(weight.parameter.numel() for weight in subject.weights.values()) < 0.8 * before
        assert compressed.sparsity >= 0.45
        assert_served_as_trained(subject, compressed.tensors)


@pytest.mark.parametrize("name", ["factored", "linear_svm", "logistic", "rbf_svm"])
def test_a_network_without_units_says_what_to_do_instead(name):
    family = next(family for family in FAMILIES if family[0] == name)
    with pytest.raises(InvalidInput, match=f"no units to take out of '{name}'; leave the pass out"):
        carry_out([Component(use="channels", config={"keep": 0.5})], subject_of(*family))


@pytest.mark.parametrize("score", ["magnitude", "activation", "taylor"])
@pytest.mark.parametrize("scope", ["layer", "global"])
@pytest.mark.parametrize(
    "name",
    ["cnn 12x12", "recurrent lstm 5x4", "resnet 12x12", "vit 3x12x12", "gan 12x12", "mobilenet 3x12x12"],
)
def test_every_score_ranks_the_units_of_every_kind_of_layer(name, scope, score):
    subject = subject_of(*dict(zip(NAMES, FAMILIES, strict=True))[name])
    units = sum(width.units for width in catalogue.config_of(subject.architecture).narrowable())

    carry_out(
        [Component(use="channels", config={"keep": 0.5, "scope": scope, "score": score, "epochs": 0})],
        subject,
    )

    left = sum(width.units for width in catalogue.config_of(subject.architecture).narrowable())
    assert 0.35 * units <= left <= 0.55 * units


@pytest.mark.parametrize("family", [f for f, _ in PLAIN], ids=[name for _, name in PLAIN])
class TestLowRank:
    def test_at_full_rank_a_factored_network_computes_the_same(self, family):
        use, row, config = family
        component = resolved(use, row, config)
        network = drawn(component)
        ranks = {path: min(shape_of(layer)) for path, layer in factorable(network).items()}
        wrapped = Component(
            use="factored", config={"of": component.model_dump(mode="json"), "ranks": dict(ranks)}
        )
        thin = catalogue.build(wrapped)
        thin.load_state_dict(factored_state(network.state_dict(), ranks))

        x = rows(use, 5, row)
        for output, wanted in zip(answers(thin, x), answers(network, x), strict=True):
            torch.testing.assert_close(output, wanted, rtol=1e-3, atol=1e-4)
        assert type(thin) is type(network)
        assert thin.methods().keys() == network.methods().keys()
        assert catalogue.task_of(wrapped) == catalogue.task_of(component)
        assert catalogue.resolve(wrapped, facts(use, row)) == wrapped

    def test_the_pass_leaves_a_thinner_network_that_can_be_pruned_quantized_and_served(self, family):
        subject = subject_of(*family)
        parent, before = copy.deepcopy(subject.architecture), len(subject.weights)
        recipe = [
            Component(use="lowrank", config={"rank": 1, "least": 8, "epochs": 1}),
            Component(use="prune", config={"sparsity": 0.5, "epochs": 1}),
            Component(use="quantize", config={"bits": 4, "epochs": 1}),
        ]

        compressed = carry_out(recipe, subject)

        assert subject.architecture.use == "factored"
        assert catalogue.plain(subject.architecture) == parent
        assert len(subject.weights) == before + len(subject.architecture.config["ranks"])
        assert compressed.sparsity >= 0.45
        assert_served_as_trained(subject, compressed.tensors)
