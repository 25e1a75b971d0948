"""The loop: several workers give what one gives, a resumed fit ends the same, the best epoch is kept."""

from functools import partial

import numpy as np
import pytest
import torch
from training_workers import Case, together

from raymaas.data.rows import Rows
from raymaas.data.split import Parts
from raymaas.errors import RunFailed
from raymaas.models import catalogue
from raymaas.specs.jobs import Component, EarlyStopping, Training
from raymaas.train.checkpoint import Checkpoint, EpochReport
from raymaas.train.loop import finished, fit
from raymaas.train.world import World

SMALL = Component(use="mlp", config={"in_features": 6, "classes": 3, "hidden": [8]})
CONVEX = Component(use="logistic", config={"in_features": 6, "classes": 3})
TOGETHER = {
    "even": Training(epochs=3, batch_size=8, seed=1, learning_rate=0.01),
    "uneven": Training(epochs=3, batch_size=9, seed=1, optimizer="sgd", momentum=0.9, learning_rate=0.05),
    "a last batch of one row": Training(epochs=2, batch_size=39, seed=1, optimizer="sgd", learning_rate=0.1),
    "in pieces, penalised, clipped": Training(
        epochs=3, batch_size=13, seed=1, accumulate=3, l1=0.01, l2=0.1, clip_norm=0.2, class_weights=(1, 2, 3)
    ),
    "lbfgs in pieces": Training(epochs=2, seed=1, accumulate=2, optimizer="lbfgs", l2=0.1),
}


def some_rows(count: int, seed: int) -> Rows:
    generator = np.random.default_rng(seed)
    y_N = generator.integers(0, 3, count)
    x_ND = generator.normal(size=(count, 6)).astype(np.float32) + np.eye(6, dtype=np.float32)[y_N] * 2
    return Rows(x_ND=x_ND, y_N=y_N, id_N=np.arange(count))


PARTS = Parts(train=some_rows(40, 0), validation=some_rows(21, 1), test=some_rows(5, 2), fingerprint="")


def run(training: Training, **rest: object) -> Checkpoint:
    options = {"parts": PARTS, "world": World.single(), "clock": lambda: 0.0} | rest
    # Elsewhere a line search magnifies rounding until it ends in another valley.
    architecture = CONVEX if training.optimizer == "lbfgs" else SMALL
    return fit(partial(catalogue.build, architecture), training, **options)


def assert_same_weights(one: Checkpoint, other: Checkpoint, **tolerance: float) -> None:
    for name, tensor in one.weights.items():
        torch.testing.assert_close(other.weights[name], tensor, **tolerance)


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    """Networks this small only wait for a second one."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module", params=[2, 4])
def fits_together(request, tmp_path_factory):
    """Checkpoints of each rank, by training, made by real processes."""
    cases = {
        name: Case(CONVEX if training.optimizer == "lbfgs" else SMALL, training, PARTS)
        for name, training in TOGETHER.items()
    }
    return together(cases, size=request.param, folder=tmp_path_factory.mktemp("together"))


@pytest.mark.parametrize("name", TOGETHER)
def test_several_workers_train_as_one_does_on_the_same_global_batch(fits_together, name):
    alone = run(TOGETHER[name])
    for many in fits_together[name]:
        assert_same_weights(alone, many, rtol=1e-4, atol=1e-5)
        for one, other in zip(alone.history, many.history, strict=True):
            assert other.metrics() == pytest.approx(one.metrics(), rel=1e-5, abs=1e-6)


@pytest.mark.parametrize(("rows", "size"), [(9, 2), (1, 2), (0, 3), (64, 5)])
def test_shards_are_disjoint_balanced_and_together_everything(rows, size):
    shards = [
        range(rows)[World(rank, size, torch.device("cpu"), lambda t: t, lambda m: m).shard(rows)]
        for rank in range(size)
    ]
    assert [row for shard in shards for row in shard] == list(range(rows))
    assert max(map(len, shards)) - min(map(len, shards)) <= 1


def test_every_epoch_takes_every_row_once_in_an_order_of_its_own():
    seen: list[torch.Tensor] = []

    def watched() -> torch.nn.Module:
        network = catalogue.build(SMALL)
        network.register_forward_pre_hook(lambda module, x: seen.append(x[0]) if module.training else None)
        return network

    fit(watched, Training(epochs=2, batch_size=16), parts=PARTS, world=World.single())
    assert [len(x_BD) for x_BD in seen] == [16, 16, 8] * 2
    epochs = [torch.cat(seen[:3]), torch.cat(seen[3:])]
    for x_ND in epochs:
        assert sorted(x_ND.tolist()) == sorted(PARTS.train.x_ND.tolist())
    assert not torch.equal(*epochs)


@pytest.mark.parametrize("optimizer", ["adam", "adamw", "sgd", "lbfgs"])
def test_a_resumed_fit_ends_where_an_uninterrupted_one_does(optimizer):
    whole = Training(epochs=5, batch_size=7, optimizer=optimizer, l2=0.01, seed=3)
    kept: list[Checkpoint] = []
    run(whole.model_copy(update={"epochs": 2}), on_epoch=lambda report, checkpoint: kept.append(checkpoint))
    resumed = run(whole, resume=Checkpoint.from_files(kept[-1].to_files(), source="test"))
    straight = run(whole)
    assert resumed.history == straight.history
    assert_same_weights(resumed, straight, rtol=0, atol=0)


def test_a_fit_that_is_over_is_not_continued():
    done = run(Training(epochs=2))
    calls: list[EpochReport] = []
    again = run(Training(epochs=2), resume=done, on_epoch=lambda report, checkpoint: calls.append(report))
    assert not calls
    assert_same_weights(again, done, rtol=0, atol=0)


def test_the_seed_decides_the_fit_and_the_callers_generator_does_not():
    torch.manual_seed(1)
    first = run(Training(epochs=1, seed=5))
    drawn = torch.rand(1)
    torch.manual_seed(1)
    assert torch.equal(torch.rand(1), drawn)  # the fit drew nothing from it
    torch.manual_seed(2)
    assert_same_weights(first, run(Training(epochs=1, seed=5)), rtol=0, atol=0)
    with pytest.raises(AssertionError):
        assert_same_weights(first, run(Training(epochs=1, seed=6)))


def test_the_weights_of_the_best_epoch_are_kept_and_waiting_ends():
    # Labels without any pattern: the network learns them by heart, and the validation loss rises.
    noise = np.random.default_rng(0)
    train = Rows(x_ND=PARTS.train.x_ND, y_N=noise.integers(0, 3, 40), id_N=PARTS.train.id_N)
    parts = Parts(train=train, validation=PARTS.validation, test=PARTS.test, fingerprint="")
    training = Training(epochs=200, learning_rate=0.05, early_stopping=EarlyStopping(patience=4))
    weights_after: list[dict[str, torch.Tensor]] = []
    training = training.model_copy(update={"checkpoint_every": 1})
    end = run(
        training, parts=parts, on_epoch=lambda report, checkpoint: weights_after.append(checkpoint.weights)
    )
    losses = [report.validation_loss for report in end.history]
    best = end.progress.best_epoch
    assert losses[best - 1] == min(losses)
    assert len(losses) == best + 4 < 200
    for name, tensor in end.best_weights.items():
        assert torch.equal(tensor, weights_after[best - 1][name])


def test_an_improvement_below_min_delta_does_not_count():
    losses = (1.0, 0.95, 0.85, 0.84)
    state = Checkpoint.start({})
    for epoch, loss in enumerate(losses, start=1):
        report = EpochReport(
            epoch=epoch, train_loss=1, validation_loss=loss, figures={"accuracy": 0}, seconds=0
        )
        state = state.after(report, weights={}, min_delta=0.1)
    assert state.progress.best_epoch == 3
    stopping = EarlyStopping(patience=1, min_delta=0.1)
    assert finished(state.progress, Training(epochs=9, early_stopping=stopping), epochs=9)
    assert not finished(state.progress, Training(epochs=9), epochs=9)


def test_checkpoints_come_when_due_and_at_the_end():
    seen: list[tuple[int, bool]] = []
    run(
        Training(epochs=5, checkpoint_every=2),
        on_epoch=lambda report, checkpoint: seen.append((report.epoch, checkpoint is not None)),
    )
    assert seen == [(1, False), (2, True), (3, False), (4, True), (5, True)]


def test_a_loss_that_is_no_number_ends_the_fit_with_advice():
    with pytest.raises(RunFailed, match=r"in epoch 1; lower training\.learning_rate"):
        run(Training(epochs=3, optimizer="sgd", learning_rate=1e30))


def test_bf16_trains_too():
    history = run(Training(epochs=8, precision="bf16", learning_rate=0.02)).history
    assert history[-1].validation_loss < history[0].validation_loss
    assert (
        history[0].train_loss
        != run(Training(epochs=1, precision="fp32", learning_rate=0.02)).history[0].train_loss
    )
