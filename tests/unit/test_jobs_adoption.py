"""A run that resumes another begins with a checkpoint of its own, copied from the newest it can go on from."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import pytest
import torch
from registry_examples import START, memory_store, run_spec

from raymaas.errors import IntegrityError, NotFound
from raymaas.jobs.adoption import adopt
from raymaas.jobs.parts import JobParts
from raymaas.registry.checkpoints import CheckpointFiles, Checkpoints
from raymaas.registry.runs import Runs
from raymaas.registry.versions import Versions
from raymaas.specs.runs import Failed, Resumes
from raymaas.store import MemoryStore
from raymaas.train.checkpoint import Checkpoint, EpochReport
from raymaas.train.saving import load


def checkpoint(epoch: int) -> Checkpoint:
    state = Checkpoint.start({})
    for n in range(1, epoch + 1):
        report = EpochReport(epoch=n, train_loss=1, validation_loss=1, figures={"accuracy": 0}, seconds=0)
        weights = {"w": torch.tensor(float(epoch))}
        state = replace(state.after(report, weights=weights, min_delta=0), optimizer={0: {"n": epoch}})
    return state


@dataclass
class Scene:
    """A store, and runs in it of which each resumes the one before."""

    store: MemoryStore = field(default_factory=memory_store)
    said: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.runs = Runs(self.store)
        self.runs.create(run_spec("run-a"))
        for run_id, before in (("run-a-r2", "run-a"), ("run-a-r3", "run-a-r2")):
            self.runs.create(run_spec(run_id).model_copy(update={"resumes": Resumes(run=before)}))
            self.runs.set_status(before, Failed(at=START, error="killed"))

    def checkpoints(self, run_id: str) -> Checkpoints:
        return Checkpoints(self.store, run_id)

    def trained(self, run_id: str, *epochs: int) -> None:
        for epoch in epochs:
            self.checkpoints(run_id).add(epoch, checkpoint(epoch).to_files())

    def adopt(self, run_id: str, resumes: Resumes) -> Checkpoint | None:
        """What `run_id` begins with."""
        parts = JobParts(
            self.store,
            Versions(self.store),
            self.runs,
            run_id,
            say=self.said.append,
            on_trial=lambda trial: None,
            resumes=resumes,
        )
        adopt(resumes, parts)
        own = self.checkpoints(run_id)
        return load(own, own.list()[-1]) if own.list() else None


@pytest.fixture
def scene() -> Scene:
    return Scene()


def test_it_begins_with_the_newest_checkpoint_optimizer_and_history_included(scene: Scene) -> None:
    scene.trained("run-a", 3, 6)
    begun = scene.adopt("run-a-r2", Resumes(run="run-a"))
    assert begun is not None
    assert len(begun.history) == 6
    assert begun.weights["w"] == 6
    assert begun.optimizer == {0: {"n": 6}}
    assert scene.said == ["going on after epoch 6 of run-a"]


def test_it_begins_with_the_epoch_asked_for(scene: Scene) -> None:
    scene.trained("run-a", 3, 6)
    begun = scene.adopt("run-a-r2", Resumes(run="run-a", epoch=3))
    assert begun is not None
    assert begun.weights["w"] == 3
    with pytest.raises(NotFound, match="there are those of 3, 6"):
        scene.adopt("run-a-r3", Resumes(run="run-a", epoch=4))


def test_a_second_driver_goes_on_from_what_the_first_one_wrote(scene: Scene) -> None:
    scene.trained("run-a", 6)
    scene.adopt("run-a-r2", Resumes(run="run-a"))
    scene.trained("run-a-r2", 9)
    again = scene.adopt("run-a-r2", Resumes(run="run-a"))
    assert again is not None
    assert len(again.history) == 9


def test_a_run_that_resumes_one_that_never_began_goes_back_to_the_one_before_it(scene: Scene) -> None:
    scene.trained("run-a", 6)
    begun = scene.adopt("run-a-r3", Resumes(run="run-a-r2"))
    assert begun is not None
    assert len(begun.history) == 6
    assert scene.said == ["going on after epoch 6 of run-a"]


def test_it_begins_anew_when_nothing_was_left(scene: Scene) -> None:
    assert scene.adopt("run-a-r2", Resumes(run="run-a")) is None
    assert scene.said == ["run-a left no checkpoint to go on from; training begins anew"]


def test_a_damaged_checkpoint_is_told_of_and_passed_over_unless_it_was_asked_for(scene: Scene) -> None:
    scene.trained("run-a", 3)
    files = checkpoint(6).to_files()
    scene.checkpoints("run-a").add(6, CheckpointFiles(state=files.state[:-1], progress=files.progress))
    with pytest.raises(IntegrityError, match="epoch 6 in"):
        scene.adopt("run-a-r2", Resumes(run="run-a", epoch=6))
    begun = scene.adopt("run-a-r2", Resumes(run="run-a"))
    assert begun is not None
    assert len(begun.history) == 3
    assert "cannot be used, so an older one is" in scene.said[0]
