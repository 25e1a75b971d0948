"""What a job can ask of the optimisation: pieces, clipping, steps, which weights are kept, the same bits again."""

from functools import partial

import numpy as np
import pytest
import torch

from raymaas.data.rows import Rows
from raymaas.data.split import Parts
from raymaas.errors import InvalidInput
from raymaas.models import catalogue
from raymaas.specs.jobs import Component, EarlyStopping, Training
from raymaas.train.checkpoint import Checkpoint, EpochReport
from raymaas.train.loop import fit
from raymaas.train.overfitting import overfitting
from raymaas.train.world import World


def network(dropout: float = 0.0) -> torch.nn.Module:
    config = {"in_features": 5, "classes": 2, "hidden": [7], "dropout": dropout}
    return catalogue.build(Component(use="mlp", config=config))


def some_rows(count: int) -> Rows:
    generator = np.random.default_rng(count)
    x_ND = generator.normal(size=(count, 5)).astype(np.float32)
    return Rows(x_ND=x_ND, y_N=(x_ND[:, 0] > 0).astype(np.int64), id_N=np.arange(count))


PARTS = Parts(train=some_rows(37), validation=some_rows(11), test=some_rows(3), fingerprint="")


def run(*, dropout: float = 0.0, **training: object) -> Checkpoint:
    spec = Training(**{"epochs": 2, "batch_size": 10, "learning_rate": 0.01} | training)
    return fit(partial(network, dropout), spec, parts=PARTS, world=World.single(), clock=lambda: 0.0)


def largest_difference(one: Checkpoint, other: Checkpoint) -> float:
    return max(float((other.weights[n] - tensor).abs().max()) for n, tensor in one.weights.items())


@pytest.mark.parametrize("pieces", [2, 3, 10])
@pytest.mark.parametrize("optimizer", ["adam", "sgd"])
def test_a_batch_in_pieces_is_the_same_step(optimizer, pieces):
    settings = {"optimizer": optimizer, "l1": 0.01, "l2": 0.05}
    assert largest_difference(run(**settings), run(**settings, accumulate=pieces)) < 1e-5


def test_all_rows_in_pieces_lead_lbfgs_to_the_same_minimum():
    # Convex: elsewhere its line search magnifies rounding until it ends in another valley.
    linear = partial(catalogue.build, Component(use="logistic", config={"in_features": 5, "classes": 2}))
    whole, pieces = (
        fit(
            linear,
            Training(optimizer="lbfgs", epochs=3, l2=0.1, accumulate=accumulate),
            parts=PARTS,
            world=World.single(),
        )
        for accumulate in (1, 3)
    )
    assert largest_difference(whole, pieces) < 1e-4


def test_pieces_are_smaller_than_the_batch():
    seen: list[int] = []

    def watched() -> torch.nn.Module:
        made = network()
        made.register_forward_pre_hook(lambda module, x: seen.append(len(x[0])) if module.training else None)
        return made

    fit(watched, Training(epochs=1, batch_size=10, accumulate=4), parts=PARTS, world=World.single())
    assert seen == [3, 3, 2, 2] * 3 + [2, 2, 2, 1]


def test_a_clipped_step_is_no_longer_than_the_norm_allows():
    start, clipped, free = (
        run(optimizer="sgd", learning_rate=1.0, steps=1, epochs=None, clip_norm=norm)
        for norm in (1e-12, 0.01, None)
    )

    def moved(end: Checkpoint) -> float:
        return float(sum((end.weights[n] - t).square().sum() for n, t in start.weights.items()).sqrt())

    assert moved(clipped) == pytest.approx(0.01, rel=1e-3)
    assert moved(free) > 0.02


def test_nesterov_and_momentum_change_the_way():
    plain, momentum, nesterov = (
        run(optimizer="sgd", **more) for more in ({}, {"momentum": 0.9}, {"momentum": 0.9, "nesterov": True})
    )
    assert min(largest_difference(plain, momentum), largest_difference(momentum, nesterov)) > 1e-4


def test_the_schedule_reaches_the_optimizer():
    frozen = run(epochs=3, schedule={"use": "step", "every_epochs": 1, "factor": 1e-9})
    assert frozen.history[1].validation_loss == pytest.approx(frozen.history[2].validation_loss, rel=1e-6)
    assert largest_difference(frozen, run(epochs=3)) > 1e-3


def test_steps_end_in_the_midst_of_an_epoch():
    end = run(steps=6, epochs=None)  # four steps to an epoch
    assert [report.epoch for report in end.history] == [1, 2]
    first = run(epochs=1)
    assert end.history[0] == first.history[0]
    assert end.history[1] != run(epochs=2).history[1]


def test_keep_last_returns_the_last_weights_however_good_they_are():
    end = run(epochs=6, learning_rate=0.5, optimizer="sgd", keep="last")
    assert end.progress.best_epoch == 6
    assert all(torch.equal(tensor, end.best_weights[name]) for name, tensor in end.weights.items())


def test_the_line_search_of_lbfgs_sees_one_dropout_mask_per_step():
    losses = [report.train_loss for report in run(optimizer="lbfgs", dropout=0.3, epochs=4).history]
    assert losses[-1] < losses[0]
    again = [report.train_loss for report in run(optimizer="lbfgs", dropout=0.3, epochs=4).history]
    assert losses == again


def test_class_weights_reach_the_loss():
    with pytest.raises(InvalidInput, match="has 3 weights, but there are 2 classes"):
        run(class_weights=(1, 1, 1))
    assert run(class_weights=(2, 2)).history[0].train_loss > 1.5 * run().history[0].train_loss
    assert largest_difference(run(class_weights="balanced"), run()) > 1e-5


def test_losses_reported_are_without_the_penalty():
    bare, penalised = (run(steps=1, epochs=None, l2=l2).history[0] for l2 in (0.0, 10.0))
    assert bare.train_loss == penalised.train_loss


def test_the_deterministic_mode_holds_in_the_fit_only():
    during: list[bool] = []

    def watched() -> torch.nn.Module:
        during.append(torch.are_deterministic_algorithms_enabled())
        return network()

    for wanted in (True, False):
        fit(watched, Training(epochs=1, deterministic=wanted), parts=PARTS, world=World.single())
    assert during == [True, False]
    assert not torch.are_deterministic_algorithms_enabled()


def test_the_gap_is_among_the_figures():
    report = run(epochs=1).history[0]
    assert report.metrics()["gap"] == report.validation_loss - report.train_loss


def reports(train: list[float], validation: list[float]) -> list[EpochReport]:
    return [
        EpochReport(epoch=n, train_loss=t, validation_loss=v, figures={"accuracy": 0}, seconds=0)
        for n, (t, v) in enumerate(zip(train, validation, strict=True), start=1)
    ]


STOPPING = Training(early_stopping=EarlyStopping(patience=3))


def test_overfitting_is_named_with_its_epoch_and_figures():
    said = overfitting(reports([1, 0.6, 0.4, 0.3, 0.2], [1, 0.8, 0.9, 1.1, 1.2]), STOPPING)
    assert said is not None
    assert "after epoch 2 the validation loss rose from 0.8 to 1.2 while the training loss fell" in said


@pytest.mark.parametrize(
    ("train", "validation"),
    [
        ([], []),
        ([1, 0.6, 0.4, 0.3], [1, 0.8, 0.9, 1.1]),  # two epochs only
        ([1, 0.6, 0.7, 0.8, 0.9], [1, 0.8, 0.9, 1.1, 1.2]),  # the training loss rises too
        ([1, 0.6, 0.4, 0.3, 0.2], [1, 0.8, 0.85, 0.82, 0.81]),  # a plateau
    ],
)
def test_what_is_not_overfitting_is_not_called_so(train, validation):
    assert overfitting(reports(train, validation), STOPPING) is None
