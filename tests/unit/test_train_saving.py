"""Checkpoints of a fit: the same to the bit, refused when damaged, written beside the training, resumed from any."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from threading import Event

import numpy as np
import pytest
import torch
from registry_examples import memory_store

from raymaas.data.rows import Rows
from raymaas.data.split import Parts
from raymaas.errors import IntegrityError, OutcomeUnknown
from raymaas.models import catalogue
from raymaas.registry.checkpoints import CheckpointFiles, Checkpoints
from raymaas.specs.jobs import Component, Schedule, Training
from raymaas.store import MemoryStore
from raymaas.train.checkpoint import Checkpoint, EpochReport
from raymaas.train.loop import fit
from raymaas.train.saving import Saver, load, newest_intact
from raymaas.train.world import World

NETWORK = Component(use="mlp", config={"in_features": 6, "classes": 3, "hidden": [8], "dropout": 0.2})
EPOCHS = 6
TRAININGS = {
    "adam": Training(epochs=EPOCHS, batch_size=7, seed=3, schedule=Schedule(use="cosine", warmup_epochs=2)),
    "adamw": Training(epochs=EPOCHS, batch_size=7, seed=3, optimizer="adamw", weight_decay=0.01),
    "sgd": Training(epochs=EPOCHS, batch_size=7, seed=3, optimizer="sgd", momentum=0.9, learning_rate=0.05),
    "lbfgs": Training(epochs=EPOCHS, batch_size=7, seed=3, optimizer="lbfgs", learning_rate=1, l2=0.01),
}


def some_rows(count: int, seed: int) -> Rows:
    generator = np.random.default_rng(seed)
    y_N = generator.integers(0, 3, count)
    x_ND = generator.normal(size=(count, 6)).astype(np.float32) + np.eye(6, dtype=np.float32)[y_N] * 2
    return Rows(x_ND=x_ND, y_N=y_N, id_N=np.arange(count))


PARTS = Parts(train=some_rows(40, 0), validation=some_rows(21, 1), test=some_rows(5, 2), fingerprint="")


def run(training: Training, **rest: object) -> Checkpoint:
    options = {"parts": PARTS, "world": World.single(), "clock": lambda: 0.0} | rest
    return fit(partial(catalogue.build, NETWORK), training, **options)


def run_saving(training: Training, checkpoints: Checkpoints, **rest: object) -> Checkpoint:
    """A fit whose checkpoints all stay."""
    with Saver(checkpoints, keep_every=1) as saver:
        return run(
            training,
            on_epoch=lambda report, checkpoint: saver.save(checkpoint) if checkpoint else None,
            **rest,
        )


def some_checkpoint(epoch: int = 1, **rest: object) -> Checkpoint:
    """After `epoch` epochs, of a network of one parameter."""
    reports = [
        EpochReport(epoch=n, train_loss=1, validation_loss=1 / n, figures={"accuracy": 0}, seconds=0)
        for n in range(1, epoch + 1)
    ]
    state = Checkpoint.start({})
    weights = {"w": torch.arange(3.0)}
    optimizer = rest.get("optimizer", {0: {"step": torch.tensor(2.0), "momentum_buffer": torch.ones(3)}})
    for report in reports:
        state = replace(state.after(report, weights=weights, min_delta=0), optimizer=optimizer)
    return state


@pytest.mark.parametrize("name", TRAININGS)
def test_a_fit_resumed_after_any_epoch_ends_with_the_same_bits(name: str) -> None:
    checkpoints = Checkpoints(memory_store(), "run-a")
    straight = run_saving(TRAININGS[name], checkpoints)
    assert [which.epoch for which in checkpoints.list()] == list(range(1, EPOCHS + 1))
    for which in checkpoints.list():
        resumed = run(TRAININGS[name], resume=load(checkpoints, which))
        assert resumed.history == straight.history
        for group in ("weights", "best_weights"):
            one, other = getattr(resumed, group), getattr(straight, group)
            assert all(torch.equal(one[key], tensor) for key, tensor in other.items()), which


def test_every_kind_of_optimizer_state_survives_as_it_was() -> None:
    state = {
        0: {
            "step": torch.tensor(3.0),
            "n_iter": 7,
            "loss": 0.1 + 0.2,
            "dirs": [torch.ones(2), torch.zeros(2)],
            "al": [None, 0.5, torch.ones(1)],
            "empty": [],
            "nothing": None,
        }
    }
    read = Checkpoint.from_files(some_checkpoint(optimizer=state).to_files(), source="there").optimizer[0]
    assert read.keys() == state[0].keys() - {"nothing"}
    assert (read["n_iter"], read["loss"], read["empty"]) == (7, 0.1 + 0.2, [])
    assert isinstance(read["n_iter"], int)
    assert torch.equal(torch.stack(read["dirs"]), torch.stack(state[0]["dirs"]))
    assert read["al"][:2] == [None, 0.5]
    assert torch.equal(read["al"][2], torch.ones(1))


def test_a_flipped_or_missing_byte_is_found_wherever_it_is() -> None:
    files = some_checkpoint().to_files()
    for place in range(0, len(files.state), 7):
        flipped = bytearray(files.state)
        flipped[place] ^= 1
        with pytest.raises(IntegrityError, match="the state of there is damaged"):
            Checkpoint.from_files(CheckpointFiles(bytes(flipped), files.progress), source="there")
    with pytest.raises(IntegrityError, match="the state of there is damaged"):
        Checkpoint.from_files(CheckpointFiles(files.state[:-1], files.progress), source="there")
    with pytest.raises(IntegrityError, match="the progress of there"):
        Checkpoint.from_files(CheckpointFiles(files.state, files.progress[:-1]), source="there")


class RottingStore(MemoryStore):
    """Reads of the keys in `rotten` give a flipped byte."""

    def __init__(self) -> None:
        super().__init__(memory_store().now)
        self.rotten: set[str] = set()

    def read(self, key: str) -> bytes:
        data = super().read(key)
        return data[:-1] + bytes([data[-1] ^ 1]) if key in self.rotten else data


@pytest.mark.parametrize("part", ["state", "progress"])
def test_a_damaged_checkpoint_is_told_of_and_the_one_before_it_used(part: str) -> None:
    store = RottingStore()
    checkpoints = Checkpoints(store, "run-a")
    straight = run_saving(TRAININGS["adam"], checkpoints)
    before, newest = checkpoints.list()[-2:]
    store.rotten.add(getattr(checkpoints, f"{part}_key")(newest))
    warnings: list[str] = []

    found = newest_intact(checkpoints, warn=warnings.append)

    assert found == before
    assert len(warnings) == 1
    assert f"epoch {EPOCHS} in runs/run-a/train/checkpoints" in warnings[0]
    again = run_saving(TRAININGS["adam"], checkpoints, resume=load(checkpoints, before))
    assert all(torch.equal(again.weights[name], tensor) for name, tensor in straight.weights.items())
    assert newest_intact(checkpoints, warn=pytest.fail).epoch == EPOCHS, "trained again, it was written again"


def test_without_a_checkpoint_that_can_be_read_there_is_none() -> None:
    store = RottingStore()
    checkpoints = Checkpoints(store, "run-a")
    assert newest_intact(checkpoints, warn=pytest.fail) is None
    store.rotten.add(checkpoints.state_key(checkpoints.add(1, some_checkpoint().to_files())))
    assert newest_intact(checkpoints, warn=lambda sentence: None) is None


class SlowStore(MemoryStore):
    """Writes wait until they are let through, and then fail when `broken`."""

    def __init__(self) -> None:
        super().__init__(memory_store().now)
        self.writing, self.through, self.broken = Event(), Event(), False

    def create(self, key: str, data: bytes) -> None:
        self.writing.set()
        assert self.through.wait(30)
        if self.broken:
            raise OutcomeUnknown("the connection broke")
        super().create(key, data)


def test_training_goes_on_while_a_checkpoint_is_written_and_does_not_change_it() -> None:
    store = SlowStore()
    checkpoints = Checkpoints(store, "run-a")
    momentum = torch.ones(3)
    with Saver(checkpoints, keep_every=1) as saver:
        saver.save(some_checkpoint(optimizer={0: {"momentum_buffer": momentum}}))
        assert store.writing.wait(30)
        momentum += 1  # the next step
        assert checkpoints.list() == ()
        store.through.set()
        saver.settle()
        (which,) = checkpoints.list()
    assert torch.equal(load(checkpoints, which).optimizer[0]["momentum_buffer"], torch.ones(3))


def test_leaving_waits_for_the_last_checkpoint() -> None:
    store = SlowStore()
    checkpoints = Checkpoints(store, "run-a")
    store.through.set()
    with Saver(checkpoints, keep_every=1) as saver:
        saver.save(some_checkpoint())
    assert len(checkpoints.list()) == 1


def test_a_checkpoint_that_cannot_be_written_ends_the_fit() -> None:
    store = SlowStore()
    store.broken = True
    store.through.set()
    saver = Saver(Checkpoints(store, "run-a"), keep_every=1)
    saver.save(some_checkpoint())
    with pytest.raises(OutcomeUnknown):
        saver.settle()
    with pytest.raises(OutcomeUnknown), Saver(Checkpoints(store, "run-b"), keep_every=1) as other:
        other.save(some_checkpoint())


def test_old_checkpoints_are_deleted_as_new_ones_come() -> None:
    checkpoints = Checkpoints(memory_store(), "run-a")
    with Saver(checkpoints, keep_every=4) as saver:
        for epoch in range(1, 8):
            saver.save(some_checkpoint(epoch))
    assert [which.epoch for which in checkpoints.list()] == [4, 6, 7]
