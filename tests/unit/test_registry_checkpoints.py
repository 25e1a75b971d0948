"""Checkpoints of a run: listed when whole, the latest attempt of an epoch counts, kept by rule, gone with the run."""

from __future__ import annotations

from pathlib import Path

import pytest
from registry_examples import memory_store

from raymaas.errors import NotFound, OutcomeUnknown
from raymaas.registry.checkpoints import CheckpointFiles, CheckpointId, Checkpoints, kept
from raymaas.registry.leftovers import delete_ray_folders
from raymaas.store import LocalStore, MemoryStore, Store


def files(word: str) -> CheckpointFiles:
    return CheckpointFiles(state=f"state {word}".encode(), progress=f"progress {word}".encode())


def epochs(checkpoints: Checkpoints) -> list[int]:
    return [which.epoch for which in checkpoints.list()]


@pytest.fixture(params=["memory", "local"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    return memory_store() if request.param == "memory" else LocalStore(tmp_path)


def test_checkpoints_are_listed_by_epoch_and_read_back(store: Store) -> None:
    checkpoints = Checkpoints(store, "run-a")
    for epoch in (2, 10, 9):
        checkpoints.add(epoch, files(str(epoch)))
    Checkpoints(store, "run-b").add(1, files("of another run"))
    assert epochs(checkpoints) == [2, 9, 10]
    assert checkpoints.read(checkpoints.of_epoch(9)) == files("9")


def test_an_epoch_trained_again_gives_another_attempt_and_the_latest_counts(store: Store) -> None:
    checkpoints = Checkpoints(store, "run-a")
    first, second = checkpoints.add(3, files("first")), checkpoints.add(3, files("second"))
    assert (first, second) == (CheckpointId(3, 1), CheckpointId(3, 2))
    assert checkpoints.list() == (second,)
    assert checkpoints.read(checkpoints.of_epoch(3)) == files("second")


def test_writing_the_same_again_changes_nothing(store: Store) -> None:
    checkpoints = Checkpoints(store, "run-a")
    assert checkpoints.add(3, files("same")) == checkpoints.add(3, files("same"))


class DyingStore(MemoryStore):
    """Nothing more is written after the first object."""

    def create(self, key: str, data: bytes) -> None:
        if self.list("runs/"):
            raise OutcomeUnknown("the connection broke")
        super().create(key, data)


def test_a_checkpoint_that_was_not_written_whole_is_not_there() -> None:
    checkpoints = Checkpoints(DyingStore(memory_store().now), "run-a")
    with pytest.raises(OutcomeUnknown):
        checkpoints.add(1, files("half"))
    assert checkpoints.list() == ()


@pytest.mark.parametrize(
    ("there", "best", "every", "stay"),
    [
        ([1, 2, 3], 3, 100, [2, 3]),
        ([1, 2, 3, 4], 1, 100, [1, 3, 4]),
        ([1, 2, 3, 4, 5, 6, 7], 7, 2, [2, 4, 6, 7]),
        ([1], 1, 5, [1]),
        ([], 0, 5, []),
    ],
)
def test_the_newest_two_the_best_and_every_nth_are_kept(
    there: list[int], best: int, every: int, stay: list[int]
) -> None:
    ids = [CheckpointId(epoch, 1) for epoch in there]
    assert kept(ids, best_epoch=best, every=every) == {CheckpointId(epoch, 1) for epoch in stay}


def test_a_second_attempt_does_not_push_out_the_checkpoint_before_it() -> None:
    damaged, again, before = CheckpointId(4, 1), CheckpointId(4, 2), CheckpointId(3, 1)
    assert kept([before, damaged, again], best_epoch=0, every=100) == {before, again}


def test_pruning_deletes_the_others_with_their_states(store: Store) -> None:
    checkpoints = Checkpoints(store, "run-a")
    ids = [checkpoints.add(epoch, files(str(epoch))) for epoch in (1, 2, 3)]
    checkpoints.prune(best_epoch=3, every=100)
    assert epochs(checkpoints) == [2, 3]
    assert not store.exists(checkpoints.state_key(ids[0]))
    with pytest.raises(NotFound, match="no checkpoint of epoch 1; there are those of 2, 3"):
        checkpoints.of_epoch(1)
    with pytest.raises(NotFound, match="it has none"):
        Checkpoints(store, "run-b").of_epoch(1)


def test_they_go_with_what_else_training_left_of_the_run(tmp_path: Path) -> None:
    store = LocalStore(tmp_path)
    checkpoints = Checkpoints(store, "run-a")
    checkpoints.add(1, files("1"))
    delete_ray_folders(store, "run-a")
    assert checkpoints.list() == ()
