import numpy as np
import pytest
import torch

from raymaas.compress.passes.l1 import soft
from raymaas.compress.recipe import carry_out
from raymaas.compress.subject import Parent, Subject
from raymaas.data.rows import Rows
from raymaas.models import catalogue
from raymaas.specs.compression import FineTuning
from raymaas.specs.facts import Facts
from raymaas.specs.jobs import Component
from raymaas.specs.versions import TensorSpec


def subject() -> Subject:
    facts = Facts(input=TensorSpec(name="x", dtype="FP32", shape=(-1, 6)), classes=("a", "b"))
    with torch.random.fork_rng():
        torch.manual_seed(0)
        component = catalogue.resolve(Component(use="mlp", config={"hidden": [8]}), facts)
        parent = Parent(catalogue.build(component), component, facts)
    x_ND = np.random.default_rng(0).normal(size=(64, 6)).astype(np.float32)
    rows = Rows(x_ND=x_ND, y_N=(x_ND[:, 0] > 0).astype(np.int64), id_N=np.arange(64))
    return Subject.of(parent, rows, FineTuning(batch_size=16, alpha=0.0, learning_rate=0.01), seed=0)


def after(form: str, strength: float) -> torch.Tensor:
    """All matrices' weights, one after another."""
    trained = subject()
    carry_out([Component(use="l1", config={"strength": strength, "form": form, "epochs": 20})], trained)
    return torch.cat([weight.parameter.detach().flatten() for weight in trained.matrices.values()])


@pytest.mark.parametrize("form", ["proximal", "subgradient"])
def test_the_penalty_shrinks_weights_and_more_of_it_shrinks_them_more(form: str) -> None:
    before = torch.cat([weight.parameter.detach().flatten() for weight in subject().matrices.values()])
    weak, strong = after(form, 0.01), after(form, 0.2)

    assert strong.abs().sum() < weak.abs().sum()
    assert strong.abs().sum() < before.abs().sum()


def test_only_the_proximal_form_leaves_exact_zeros() -> None:
    assert (after("proximal", 0.8) == 0).float().mean() > 0.3
    assert (after("subgradient", 0.8) == 0).sum() == 0


def test_soft_thresholding_moves_towards_zero_and_stops_there() -> None:
    weight = torch.tensor([-2.0, -0.1, 0.0, 0.3, 1.0])

    torch.testing.assert_close(soft(weight, 0.25), torch.tensor([-1.75, 0.0, 0.0, 0.05, 0.75]))
