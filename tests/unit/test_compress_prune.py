"""Pass prune: when weights go, out of which matrices, and by what they are worth."""

from typing import Any

import numpy as np
import pytest
import torch

from raymaas.compress.distill import loss_of
from raymaas.compress.passes import prune
from raymaas.compress.recipe import carry_out, passes_of
from raymaas.compress.subject import Parent, Subject
from raymaas.compress.worth import Movement, standing
from raymaas.data.rows import Rows
from raymaas.errors import InvalidInput
from raymaas.models import catalogue
from raymaas.specs.compression import FineTuning
from raymaas.specs.facts import Facts
from raymaas.specs.jobs import Component
from raymaas.specs.versions import TensorSpec

D = 8
FACTS = Facts(input=TensorSpec(name="x", dtype="FP32", shape=(-1, D)), classes=("a", "b"))
MLP = catalogue.resolve(Component(use="mlp", config={"hidden": [20]}), FACTS)


@pytest.fixture
def subject() -> Subject:
    """A network whose second matrix has ten times larger weights; what its last input says is always 0."""
    random = np.random.default_rng(0)
    x_ND = random.normal(size=(60, D)).astype(np.float32)
    x_ND[:, -1] = 0
    rows = Rows(x_ND=x_ND, y_N=(x_ND[:, 0] > 0).astype(np.int64), id_N=np.arange(60))
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = catalogue.build(MLP)
    with torch.no_grad():
        network.get_parameter("head.weight").mul_(10)
        network.get_parameter("hidden.0.weight")[:, -1] = 5
    settings = FineTuning(batch_size=20, alpha=0.0, learning_rate=1e-3)
    return Subject.of(Parent(network, MLP, FACTS), rows, settings, seed=0)


def pruned(subject: Subject, **config: Any) -> dict[str, float]:
    """The share of zeros in each matrix."""
    carry_out([Component(use="prune", config={"sparsity": 0.5, "epochs": 5} | config)], subject)
    return {name: float((w.parameter == 0).float().mean()) for name, w in subject.matrices.items()}


@pytest.mark.parametrize(
    ("config", "shares"),
    [
        ({"ramp": 0.6}, [19 / 27, 26 / 27, 1]),
        ({"ramp": 1.0}, [61 / 125, 98 / 125, 117 / 125, 124 / 125, 1]),
        ({"schedule": "one-shot"}, [1]),
        ({"epochs": 0}, [1]),
        ({"epochs": 0, "schedule": "one-shot"}, [1]),
        ({"ramp": 0.5, "score": "movement"}, [7 / 8, 1]),
    ],
)
def test_the_sparsity_grows_by_the_schedule(subject, monkeypatch, config, shares) -> None:
    asked = []
    mask_least = prune.mask_least

    def noting(worth: Any, masks: Any, *, sparsity: float) -> None:
        asked.append((subject.epochs_done, sparsity))
        mask_least(worth, masks, sparsity=sparsity)

    monkeypatch.setattr(prune, "mask_least", noting)
    found = pruned(subject, **config)

    assert [sparsity for _, sparsity in asked] == pytest.approx([0.5 * share for share in shares])
    first = 1 if "score" in config else 0
    assert [epoch for epoch, _ in asked] == list(range(first, first + len(shares)))
    weights = [weight.parameter for weight in subject.matrices.values()]
    assert sum(found[n] * w.parameter.numel() for n, w in subject.matrices.items()) == pytest.approx(
        0.5 * sum(w.numel() for w in weights)
    )


def test_by_default_the_smaller_matrix_pays_and_by_layer_each_pays_its_share(subject) -> None:
    apart = pruned(subject.copy(), scope="layer")
    assert apart == pytest.approx({"hidden.0.weight": 0.5, "head.weight": 0.5})
    together = pruned(subject)
    assert together["hidden.0.weight"] > 0.55
    assert together["head.weight"] < 0.3


def test_large_weights_of_an_input_that_is_never_there_are_worth_something_by_magnitude_alone(
    subject,
) -> None:
    assert (standing(subject, "magnitude")["hidden.0.weight"][:, -1] == 5).all()
    for score in ("activation", "taylor"):
        worth = standing(subject, score)["hidden.0.weight"]
        assert (worth[:, -1] == 0).all()
        assert (worth[:, 0] > 0).float().mean() > 0.5


def test_by_taylor_a_weight_is_worth_the_square_of_itself_times_its_gradient(subject) -> None:
    worth = standing(subject, "taylor")["head.weight"]
    weight = subject.network.get_parameter("head.weight")
    subject.network.zero_grad()
    loss_of(subject, torch.arange(60)).backward()
    assert weight.grad is not None
    torch.testing.assert_close(worth, (weight * weight.grad).square().detach(), rtol=1e-3, atol=1e-9)


@torch.no_grad()
def test_by_movement_weights_that_are_moved_away_from_zero_are_worth_most(subject) -> None:
    movement = Movement(subject)
    weight = subject.network.get_parameter("head.weight")
    weight.grad = -weight.sign()  # a step against the gradient makes each larger
    weight.grad[0, 0] *= -2
    movement.watch()
    movement.watch()
    worth = movement.worth()["head.weight"]
    assert float(worth[0, 0]) == pytest.approx(-4 * float(weight[0, 0].abs()))
    torch.testing.assert_close(worth[1], 2 * weight[1].abs())


@pytest.mark.parametrize("epochs", [0, 1])
def test_movement_without_steps_to_learn_it_from_is_refused(epochs) -> None:
    config = {"sparsity": 0.5, "score": "movement", "epochs": epochs}
    with pytest.raises(InvalidInput, match="use schedule cubic and 2 epochs or more"):
        passes_of([Component(use="prune", config=config)])
