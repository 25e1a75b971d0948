"""The compress job after its search: what is registered, of how many rules, and what a killed driver leaves undone.

The trials are carried out here in this process and recorded, so the search has nothing left to do; of the runtimes
there is torch alone, as fast as each test says.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import pytest
from compression_examples import found
from local_training import fit_here, trained

from raymaas.data.split import Parts
from raymaas.errors import InvalidInput, RunFailed
from raymaas.jobs import compress as compressing
from raymaas.jobs import judging, publishing
from raymaas.jobs.compress import compress
from raymaas.jobs.computing import Computed
from raymaas.jobs.ground import Ground, ground_of
from raymaas.jobs.origin import rows_of_version
from raymaas.jobs.parts import JobParts
from raymaas.jobs.recipes import Patience, RecipeTrial, coded_bundle, on_validation_rows
from raymaas.registry.blobs import Blobs
from raymaas.registry.card import render
from raymaas.registry.choices import Choices
from raymaas.registry.runs import Runs
from raymaas.registry.versions import Versions
from raymaas.specs.accounting import PassFinding
from raymaas.specs.compression import CompressJob, Gate
from raymaas.specs.names import new_run_id
from raymaas.specs.runs import RunSpec
from raymaas.specs.search import Finished, Trial, every_point, trial_name
from raymaas.specs.versions import ModelVersion
from raymaas.store import LocalStore, Store
from raymaas.sweep.search import Report

TRAIN = {
    "model": "digits",
    "data": {"use": "digits"},
    "architecture": {"use": "mlp", "config": {"hidden": [16], "input_scale": 0.0625}},
    "training": {"epochs": 3, "learning_rate": 0.01},
}
COMPRESS = {
    "model": "digits",
    "recipe": [
        {"use": "prune", "config": {"sparsity": 0.3, "epochs": 0}},
        {"use": "quantize", "config": {"bits": {"choice": [2, 3, 5]}, "epochs": 1}},
    ],
    "max_loss": 30,
}
TWO = {"choose": "smallest,fastest"}


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """digits@1 is in it."""
    with pytest.MonkeyPatch.context() as patch:
        store = LocalStore(tmp_path_factory.mktemp("store"))
        fit_here(patch, store)
        trained(store, TRAIN)
    return store


@pytest.fixture(scope="module")
def trials(store: Store) -> list[Trial]:
    """What came of each recipe; the limits of a job do not change that."""
    job, versions = CompressJob.parse(COMPRESS, source="job"), Versions(store)
    parent = versions.get("digits", 1)
    parts = JobParts(store, versions, Runs(store), "once", say=lambda line: None, on_trial=lambda trial: None)
    ground = ground_of(job, parent, parent, rows_of_version(store, parent), parts)
    ended = []
    for point in every_point(job.space(), at_most=9) or []:
        told: list[Report] = []
        RecipeTrial(job)(point, ground, told.append)
        files = {name: Blobs(store).put(data, name=name) for name, data in told[-1].files.items()}
        # Each bit is worth something here, on any processor: all three are on the front.
        metrics = {**told[-1].metrics, "validation_accuracy": 0.8 + 0.02 * int(str(point["quantize.bits"]))}
        outcome = Finished(metrics=metrics, files=files, reports=1, seconds=1.0)
        ended.append(Trial(run_id="once", trial=trial_name(point), point=dict(point), outcome=outcome))
    return ended


Run = Callable[[Mapping[str, Any]], "Searched"]


@pytest.fixture
def searched(store: Store, trials: list[Trial]) -> Run:
    """A run of the job with other fields, whose search is over."""
    return partial(Searched, store, trials)


class Bench:
    """Torch alone, with the rate by bytes that a test says, which counts how often each file was tried."""

    def __init__(self) -> None:
        self.rate: Callable[[int], float] = lambda size: 1e4
        self.refuses: Callable[[int], bool] = lambda size: False
        self.asked: list[int] = []
        self.stages: dict[str, int] = {}

    def passes_found(
        self, stages: Sequence[tuple[str, bytes]], *_: Any, **__: Any
    ) -> tuple[PassFinding, ...]:
        self.stages = {use: len(coded) for use, coded in stages}
        return tuple(PassFinding(after=use, bytes=size, macs=1) for use, size in self.stages.items())

    def computed(
        self, coded: bytes, parent: ModelVersion, versions: Versions, rows: Parts, *, gate: Gate, **_: Any
    ) -> Computed:
        self.asked.append(len(coded))
        if self.refuses(len(coded)):
            raise RunFailed("it lost too much in every runtime", run="")
        bundle = coded_bundle(coded, parent, versions, rows)
        opened = judging.Subject.of_files(bundle.files, parent.signature, runtime="torch")
        value = on_validation_rows(opened, rows)[f"validation_{gate.metric}"]
        rate = self.rate(len(coded))
        finding = found("torch", value=value, p50_ms=1e3 / rate, rows_per_s=rate)
        return Computed(bundle, (finding,), (), None)


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> Bench:
    bench = Bench()
    monkeypatch.setattr(publishing, "computed", bench.computed)
    monkeypatch.setattr(publishing, "passes_found", bench.passes_found)
    monkeypatch.setattr(compressing, "with_shelf", lambda ground: ground)
    return bench


class Searched:
    """A run whose trials have all ended."""

    def __init__(self, store: Store, trials: Sequence[Trial], fields: Mapping[str, Any]) -> None:
        self.job = CompressJob.parse({**COMPRESS, **fields}, source="job")
        self.said: list[str] = []
        runs, run_id = Runs(store), new_run_id("compress", "digits")
        self.parts = JobParts(
            store, Versions(store), runs, run_id, say=self.said.append, on_trial=lambda trial: None
        )
        runs.create(RunSpec(run_id=run_id, job=self.job, who="test", created_at=store.now()))
        for trial in trials:
            runs.add_trial(trial.model_copy(update={"run_id": run_id}))

    def carried_out(self) -> tuple[ModelVersion, ...]:
        return compress(self.job, self.parts)

    @property
    def sizes(self) -> list[int]:
        """Bytes of all recipes, ascending."""
        return sorted(int(trial.metrics["bytes"]) for trial in self.parts.runs.trials(self.parts.run_id))


def bits_of(versions: Sequence[ModelVersion]) -> list[object]:
    found = [version.lineage.compression for version in versions]
    return [each.recipe[-1].config["bits"] for each in found if each]


def test_each_rule_is_registered_as_a_version_and_says_how_it_was_chosen(searched: Run, bench: Bench) -> None:
    run = searched(TWO)
    bench.rate = lambda size: 1e5 if size == run.sizes[-1] else 1e4

    small, fast = run.carried_out()

    assert bits_of([small, fast]) == [2, 5]
    assert (small.part, fast.version) == (None, small.version + 1)
    assert small.lineage.compression is not None
    assert fast.lineage.compression is not None
    selection = fast.lineage.compression.selection
    assert selection is not None
    assert (selection.rules, selection.part, selection.trials) == (("fastest",), "validation", 3)
    assert selection.rows == len(
        rows_of_version(run.parts.store, run.parts.versions.get("digits", 1)).validation
    )
    assert selection.candidates == len(bench.asked) == 3
    assert selection.test_evaluations == 1
    assert selection.chosen_at < selection.tested_at
    assert fast.lineage.compression.trial == fast.part
    assert fast.lineage.compression.accounting is not None
    assert fast.lineage.compression.accounting.runtimes[0].rows_per_s == 1e5
    assert len(run.parts.versions.read_file(small, "model.rmz")) == run.sizes[0]
    assert list(bench.stages) == ["prune", "quantize"]
    assert bench.stages["prune"] > bench.stages["quantize"] == run.sizes[-1]
    assert [one.after for one in fast.lineage.compression.accounting.passes] == ["prune", "quantize"]
    said = "Chosen as fastest of 3 recipes, 3 of them tried in every runtime, by accuracy on"
    assert said in render(fast)


def test_a_pass_that_changed_nothing_is_told_of_with_the_others(searched: Run, bench: Bench) -> None:
    prune, quantize = COMPRESS["recipe"]
    nothing = {"use": "finetune", "config": {"epochs": 1}}  # the trials here have no file of it

    searched({"recipe": [prune, nothing, quantize]}).carried_out()

    assert list(bench.stages) == ["prune", "finetune", "quantize"]
    assert bench.stages["finetune"] == bench.stages["prune"]


def test_one_recipe_that_is_best_by_two_rules_is_one_version(searched: Run, bench: Bench) -> None:
    run = searched(TWO)
    bench.rate = lambda size: 1e6 / size

    (only,) = run.carried_out()

    assert only.lineage.compression is not None
    assert only.lineage.compression.selection is not None
    assert only.lineage.compression.selection.rules == ("smallest", "fastest")


class Killed(BaseException):
    """The driver dies."""


@pytest.mark.parametrize("published", [0, 1])
def test_a_driver_that_was_killed_between_two_publications_goes_on_with_what_it_had_chosen(
    searched: Run, bench: Bench, monkeypatch: pytest.MonkeyPatch, published: int
) -> None:
    run = searched(TWO)
    bench.rate = lambda size: 1e5 if size == run.sizes[-1] else 1e4
    publish, made = Versions.publish, list[ModelVersion]()

    def dying(self: Versions, *given: Any, **more: Any) -> ModelVersion:
        if len(made) == published:
            raise Killed
        made.append(publish(self, *given, **more))
        return made[-1]

    with monkeypatch.context() as patch:
        patch.setattr(Versions, "publish", dying)
        with pytest.raises(Killed):
            run.carried_out()
    bench.rate = lambda size: 1e6 / size  # the same machine, in another mood
    bench.asked.clear()

    small, fast = run.carried_out()

    assert [small, fast][:published] == made
    assert bits_of([small, fast]) == [2, 5]
    assert len(bench.asked) == 2 - published, "only what is still to be published is built again"
    assert run.carried_out() == (small, fast)


def test_where_no_runtime_serves_the_smallest_the_next_is_taken_and_that_is_told(
    searched: Run, bench: Bench
) -> None:
    run = searched({"measure": 1})
    bench.refuses = lambda size: size == run.sizes[0]

    (version,) = run.carried_out()

    assert bits_of([version]) == [3]
    assert any("cannot be served: it lost too much in every runtime" in line for line in run.said)


def test_when_nothing_keeps_to_a_limit_nothing_is_registered_and_the_nearest_miss_is_told(
    searched: Run, bench: Bench
) -> None:
    late = searched({"max_latency_ms": 0.01})
    before = late.parts.versions.list("digits")

    with pytest.raises(RunFailed, match=r"fits 100 bytes; the smallest takes \d+ with quantize\.bits 2"):
        searched({"max_bytes": 100}).carried_out()
    with pytest.raises(RunFailed, match=r"within 0\.01 ms; the fastest takes 0\.100 ms in torch"):
        late.carried_out()

    assert late.parts.versions.list("digits") == before
    assert Choices(late.parts.store).of_run(late.parts.run_id) is None


def test_the_front_that_is_kept_shows_what_was_chosen_and_how_fast_it_is(searched: Run, bench: Bench) -> None:
    run = searched({})

    run.carried_out()

    front = run.parts.runs.artifacts(run.parts.run_id)
    page = front.read("front.html").decode()
    assert "chosen: smallest" in page
    assert "0.100" in page
    assert {file.name for file in front.list()} == {"front.csv", "front.png", "front.html"}


def test_the_parent_is_asked_in_the_runtime_most_like_that_of_the_version() -> None:
    for runtime, expected in (("onnx", "onnx"), ("onnx-int8", "onnx"), ("torch-bf16", "torch")):
        assert publishing._nearest(runtime, ("torch", "onnx")) == expected
    assert publishing._nearest("onnx-int8", ("torch",)) == "torch"


def test_the_search_is_given_the_jobs_patience_its_seeds_and_what_all_recipes_are_tried_on(
    searched: Run, bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = searched({"parent": "digits@1", "give_up": 2, "seeds": [{"quantize.bits": 5}]})
    asked: dict[str, Any] = {}

    def search(function: RecipeTrial, *_: Any, **given: Any) -> tuple[Trial, ...]:
        asked.update(given, patience=function.patience)
        raise Killed

    monkeypatch.setattr(compressing, "search", search)
    with pytest.raises(Killed):
        run.carried_out()

    reached = on_validation_rows(
        judging.Subject.of_version(run.parts.versions, run.parts.versions.get("digits", 1)),
        rows_of_version(run.parts.store, run.parts.versions.get("digits", 1)),
    )["validation_accuracy"]
    assert asked["patience"] == Patience(Gate(metric="accuracy", max_loss=0.3), reached=reached, times=2)
    assert asked["seeds"] == ({"quantize.bits": 5},)
    assert isinstance(asked["shared"], Ground)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        (
            {"fine_tuning": {"augment": [{"use": "shift", "pixels": 1}]}},
            r"fine_tuning\.augment\[0\] shift is for images",
        ),
        ({"student": {"choice": [None, {"use": "mlp", "config": {"hiden": [8]}}]}}, "did you mean 'hidden'"),
        ({"student": {"use": "mlp_regressor"}}, "'mlp_regressor' is for regression, its parent for classif"),
    ],
)
def test_what_recipes_cannot_be_trained_with_is_told_before_any_trial(
    searched: Run, bench: Bench, fields: dict[str, Any], message: str
) -> None:
    if "student" in fields:
        fields = {"recipe": [{"use": "distill", "config": fields}]}
    run = searched(fields)
    with pytest.raises(InvalidInput, match=message):
        run.carried_out()
