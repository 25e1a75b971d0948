"""Losses and penalties: each is its formula, and together they are scikit-learn's objectives."""

from functools import partial

import numpy as np
import pytest
import torch
from sklearn.datasets import load_breast_cancer, load_wine
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC
from torch import nn

from raymaas.data.rows import Rows
from raymaas.data.split import Parts
from raymaas.errors import InvalidInput
from raymaas.models import catalogue
from raymaas.specs.jobs import Component, Training
from raymaas.train.checkpoint import Checkpoint
from raymaas.train.loop import fit
from raymaas.train.losses import class_weights, make_loss
from raymaas.train.penalties import Penalty
from raymaas.train.world import World

LOGITS_BC = torch.tensor([[2.0, -1.0, 0.5], [0.0, 0.2, -3.0], [1.0, 1.0, 1.0]])
Y_B = torch.tensor([0, 2, 1])
LOG_P_BC = LOGITS_BC.log_softmax(dim=1)


def loss(**training: object) -> float:
    return float(make_loss(Training(**training), weights_C=None)(LOGITS_BC, Y_B))


def test_cross_entropy_is_minus_the_log_of_the_labels_probability():
    assert loss() == pytest.approx(-float(LOG_P_BC[range(3), Y_B].sum()))


def test_label_smoothing_spreads_its_share_over_all_classes():
    target_BC = torch.nn.functional.one_hot(Y_B, 3) * 0.7 + 0.3 / 3
    assert loss(label_smoothing=0.3) == pytest.approx(-float((target_BC * LOG_P_BC).sum()))


def test_hinge_sums_each_class_against_the_rest():
    expected = sum(
        max(0.0, 1 - (1 if c == y else -1) * z)
        for y, row in zip(Y_B.tolist(), LOGITS_BC.tolist(), strict=True)
        for c, z in enumerate(row)
    )
    assert loss(loss="hinge") == pytest.approx(expected)


@pytest.mark.parametrize("kind", ["cross_entropy", "hinge"])
def test_a_row_counts_as_often_as_its_class_weighs(kind):
    training = Training(loss=kind, class_weights=(1, 2, 3))
    weights_C = class_weights(training, y_N=Y_B, classes=3)
    once = make_loss(training, weights_C=None)
    by_row = [float(once(LOGITS_BC[[i]], Y_B[[i]])) for i in range(3)]
    found = float(make_loss(training, weights_C=weights_C)(LOGITS_BC, Y_B))
    assert found == pytest.approx(1 * by_row[0] + 3 * by_row[1] + 2 * by_row[2])


def test_balanced_weights_are_those_of_scikit_learn():
    from sklearn.utils.class_weight import compute_class_weight

    y_N = np.array([0, 0, 0, 0, 1, 2, 2])
    found = class_weights(Training(class_weights="balanced"), y_N=torch.tensor(y_N), classes=3)
    expected = compute_class_weight("balanced", classes=np.arange(3), y=y_N)
    assert found.tolist() == pytest.approx(expected.tolist())


def test_weights_for_another_number_of_classes_are_refused():
    with pytest.raises(InvalidInput, match="has 2 weights, but there are 3 classes"):
        class_weights(Training(class_weights=(1, 2)), y_N=Y_B, classes=3)


def test_penalties_are_their_formula_and_leave_biases_and_norms_alone():
    network = nn.Sequential(nn.Linear(4, 3), nn.LayerNorm(3))
    torch.nn.init.constant_(network[0].bias, 5.0)
    penalty = Penalty.of(Training(l1=0.3, l2=0.5), network)
    weight = network[0].weight.detach().double()
    assert penalty.value() == pytest.approx(0.3 * float(weight.abs().sum()) + 0.25 * float((weight**2).sum()))
    for parameter in network.parameters():
        parameter.grad = torch.ones_like(parameter)
    penalty.add_gradient()
    torch.testing.assert_close(
        network[0].weight.grad, (1 + 0.3 * weight.sign() + 0.5 * weight).to(torch.float32)
    )
    for untouched in (network[0].bias, network[1].weight, network[1].bias):
        assert torch.equal(untouched.grad, torch.ones_like(untouched))


def standardized(load: object) -> Parts:
    x_ND, y_N = load(return_X_y=True)
    x_ND = StandardScaler().fit_transform(x_ND).astype(np.float32)
    rows = Rows(x_ND=x_ND, y_N=y_N.astype(np.int64), id_N=np.arange(len(y_N)))
    few = rows.take(np.arange(20))
    return Parts(train=rows, validation=few, test=few, fingerprint="")


def linear_fit(training: Training, parts: Parts) -> Checkpoint:
    rows = parts.train
    size = {"in_features": rows.x_ND.shape[1], "classes": int(rows.y_N.max()) + 1}
    network = partial(catalogue.build, Component(use="logistic", config=size))
    return fit(network, training, parts=parts, world=World.single())


@pytest.mark.parametrize("load", [load_breast_cancer, load_wine])
def test_lbfgs_finds_the_coefficients_of_scikit_learn(load):
    parts = standardized(load)
    rows = parts.train
    # Two classes are two opposite halves of scikit-learn's one vector, so they weigh half in the penalty.
    binary = rows.y_N.max() == 1
    training = Training(
        optimizer="lbfgs", epochs=8, l2=(2 if binary else 1) / len(rows), keep="last", deterministic=True
    )
    weights = linear_fit(training, parts).best_weights
    theirs = LogisticRegression(C=1, tol=1e-9, max_iter=10_000).fit(rows.x_ND.astype(np.float64), rows.y_N)
    found = weights["linear.weight"].numpy()
    np.testing.assert_allclose(found[1:] - found[:1] if binary else found, theirs.coef_, atol=1e-3)


@pytest.mark.parametrize(
    "way",
    [
        {"optimizer": "lbfgs", "epochs": 10},
        {"epochs": 600, "batch_size": 569, "learning_rate": 0.03, "schedule": {"use": "linear"}},
    ],
)
def test_hinge_reaches_the_objective_of_scikit_learn(way):
    parts = standardized(load_breast_cancer)
    x_ND, y_N = parts.train.x_ND.astype(np.float64), parts.train.y_N
    cost = 0.1

    def objective(weight_D: np.ndarray, bias: float, sign: int) -> float:
        margins_N = sign * (2 * y_N - 1) * (x_ND @ weight_D + bias)
        return float(weight_D @ weight_D / 2 + cost * np.maximum(0, 1 - margins_N).sum())

    theirs = SVC(kernel="linear", C=cost, tol=1e-8).fit(x_ND, y_N)
    best = objective(theirs.coef_[0], theirs.intercept_[0], 1)
    training = Training(loss="hinge", l2=1 / (cost * len(y_N)), keep="last", **way)
    weights = linear_fit(training, parts).best_weights
    for sign, row, bias in zip(
        (-1, 1), weights["linear.weight"].double().numpy(), weights["linear.bias"].tolist(), strict=True
    ):
        found = objective(row, bias, sign)
        assert best * (1 - 1e-6) <= found <= best * 1.001
