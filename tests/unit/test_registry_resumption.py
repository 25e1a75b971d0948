"""Which runs go on from which, and what is said of those that cannot."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial

import pytest
from registry_examples import FILES, START, draft, memory_store, run_spec

from raymaas.client.jobfile import read_job
from raymaas.errors import AlreadyExists, InvalidInput, NotFound, Refused
from raymaas.registry.checkpoints import CheckpointFiles, Checkpoints
from raymaas.registry.resumption import Resumption, continuation_id
from raymaas.registry.runs import Runs
from raymaas.registry.versions import Versions
from raymaas.specs.budget import Budget, Spent
from raymaas.specs.jobs import TrainJob
from raymaas.specs.kinds import parse_job
from raymaas.specs.runs import (
    Failed,
    Resumes,
    Running,
    RunProgress,
    RunSpec,
    RunState,
    Stopped,
    Succeeded,
)
from raymaas.store import Store

RUNNING = Running(at=START, step="training")
FAILED = Failed(at=START, error="its Ray job ended as FAILED before the run was over")
STOPPED = Stopped(at=START, who="bob")
COMPRESS = {"kind": "compress", "model": "digits", "recipe": [{"use": "prune", "config": {"sparsity": 0.5}}]}


@dataclass
class Scene:
    """A store with the training `run-a`, as it stands after `ended`."""

    store: Store = field(default_factory=memory_store)

    def __post_init__(self) -> None:
        self.runs, self.versions = Runs(self.store), Versions(self.store)
        self.resumption = Resumption(self.store, self.runs, self.versions)
        self.asked = self.runs.create(run_spec("run-a"))

    def ended(self, state: RunState, run_id: str = "run-a") -> None:
        self.runs.set_status(run_id, state)

    def has_checkpoint(self, epoch: int) -> None:
        Checkpoints(self.store, "run-a").add(epoch, CheckpointFiles(state=b"s", progress=b"p"))

    def continued(self, run_id: str = "run-a", *settings: str) -> RunSpec:
        changed = partial(read_job, settings=settings)
        return self.resumption.continued(run_id, who="eve", at=START, changed=changed)

    def used(self, hours: float, *, run_id: str = "run-a", before: float = 0.0) -> None:
        spent, earlier = (Spent(seconds=3600 * part) for part in (hours, before))
        progress = RunProgress(run_id=run_id, at=START, spent=spent, before=earlier)
        self.runs.progresses.replace(progress)

    def branched(self, epoch: int, *settings: str) -> RunSpec:
        changed = partial(read_job, settings=settings)
        return self.resumption.branched("run-a", epoch, who="eve", at=START, changed=changed)


@pytest.fixture
def scene() -> Scene:
    return Scene()


@pytest.mark.parametrize("state", [FAILED, STOPPED])
def test_a_run_that_failed_or_was_stopped_is_continued_by_a_run_of_its_own(
    scene: Scene, state: RunState
) -> None:
    scene.ended(state)
    spec = scene.runs.create(scene.continued())
    assert (spec.run_id, spec.job, spec.who) == ("run-a-r2", scene.asked.job, "eve")
    assert scene.runs.get("run-a-r2").resumes == Resumes(run="run-a")
    assert scene.runs.status("run-a") == state, "what it ended as stays"


def test_it_is_continued_only_once_and_its_continuation_after_it(scene: Scene) -> None:
    scene.ended(FAILED)
    raced = scene.continued()
    scene.runs.create(scene.continued())
    with pytest.raises(AlreadyExists):
        scene.runs.create(raced)
    with pytest.raises(
        Refused, match=r"resumed before, as run-a-r2, which is pending; see `raymaas runs show"
    ):
        scene.continued()
    with pytest.raises(Refused, match="'run-a-r2' is pending"):
        scene.continued("run-a-r2")
    scene.ended(FAILED, "run-a-r2")
    assert scene.continued("run-a-r2").run_id == "run-a-r3"


def test_a_run_that_goes_on_has_succeeded_or_has_published_is_not_continued(scene: Scene) -> None:
    with pytest.raises(Refused, match=r"is pending.*`raymaas runs stop run-a`.*--from-epoch N"):
        scene.continued()
    scene.ended(RUNNING)
    with pytest.raises(Refused, match="is running"):
        scene.continued()
    scene.ended(Succeeded(at=START, version=None, seconds=1))
    with pytest.raises(Refused, match=r"has succeeded.*--from-epoch N"):
        scene.continued()


def test_a_run_that_died_between_publishing_and_saying_so_publishes_nothing_twice(scene: Scene) -> None:
    scene.versions.publish(draft("run-a"), FILES)
    scene.ended(FAILED)
    with pytest.raises(Refused, match=r"published digits@1; .*--from-epoch N"):
        scene.continued()


@pytest.mark.parametrize("state", [RUNNING, FAILED, Succeeded(at=START, version=1, seconds=1)])
def test_any_run_is_branched_off_from_as_often_as_wanted(scene: Scene, state: RunState) -> None:
    scene.has_checkpoint(5)
    scene.ended(state)
    one, other = scene.branched(5), scene.branched(5, "training.epochs=40", "scaling.workers=1")
    assert one.resumes == other.resumes == Resumes(run="run-a", epoch=5)
    assert one.job == scene.asked.job
    assert (other.job.training.epochs, other.job.scaling.workers) == (40, 1)
    assert len({"run-a", one.run_id, other.run_id}) == 3


def test_a_branch_from_an_epoch_without_a_checkpoint_names_the_epochs_there_are(scene: Scene) -> None:
    scene.has_checkpoint(4)
    scene.has_checkpoint(8)
    with pytest.raises(NotFound, match=r"no checkpoint of epoch 5; there are those of 4, 8"):
        scene.branched(5)


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ("model=other", "keeps its model, data, split and architecture"),
        ("architecture.config.hidden=[3]", "keeps its model"),
        ("data.use=mnist", "keeps its model"),
        ("training.optimizer=sgd", "leave training.optimizer as it was"),
        ("training.epochz=3", "did you mean 'epochs'"),
    ],
)
def test_a_branch_does_not_change_what_its_checkpoint_would_not_fit(
    scene: Scene, setting: str, said: str
) -> None:
    scene.has_checkpoint(5)
    with pytest.raises(InvalidInput, match=said):
        scene.branched(5, setting)


def test_only_trainings_are_resumed(scene: Scene) -> None:
    job = parse_job(COMPRESS, source="test")
    scene.runs.create(RunSpec(run_id="run-c", job=job, who="ana", created_at=START))
    with pytest.raises(InvalidInput, match="is a 'compress' job, and only trainings are resumed"):
        scene.continued("run-c")
    with pytest.raises(NotFound, match="'run-x' does not exist"):
        scene.continued("run-x")


def test_continuations_are_counted() -> None:
    ids = ["train-digits-0123456789"]
    for _ in range(10):
        ids.append(continuation_id(ids[-1]))
    assert ids[1::8] == ["train-digits-0123456789-r2", "train-digits-0123456789-r10"]
    with pytest.raises(InvalidInput, match="cannot be continued"):
        continuation_id("x" * 62)


def test_a_run_that_its_budget_stopped_goes_on_with_a_larger_one(scene: Scene) -> None:
    scene.used(1.0)
    scene.ended(STOPPED)
    with pytest.raises(
        Refused, match=r"used 1 of its budget of 0\.5 hours; give more with --set budget\.hours=MORE"
    ):
        scene.continued("run-a", "budget.hours=0.5")
    spec = scene.continued("run-a", "budget.hours=1.5")
    assert isinstance(spec.job, TrainJob)
    assert spec.job.budget == Budget(hours=1.5)
    assert spec.job.model_copy(update={"budget": None}) == scene.asked.job


def test_a_continuation_of_a_continuation_counts_all_of_them(scene: Scene) -> None:
    scene.ended(FAILED)
    scene.runs.create(scene.continued())
    scene.used(1.0, run_id="run-a-r2", before=3.0)
    scene.ended(FAILED, "run-a-r2")
    with pytest.raises(Refused, match="used 4 of its budget of 4 hours"):
        scene.continued("run-a-r2", "budget.hours=4")
    assert scene.continued("run-a-r2", "budget.hours=4.5").run_id == "run-a-r3"


def test_nothing_but_the_budget_of_a_continued_run_can_be_set(scene: Scene) -> None:
    scene.ended(FAILED)
    with pytest.raises(InvalidInput, match="only its budget can be set; add from_epoch"):
        scene.continued("run-a", "budget.hours=1", "training.epochs=3")
