"""Search documents: spaces, jobs that search, and where they are refused."""

from datetime import UTC, datetime

import pytest

from raymaas.cli.loglines import trial_line
from raymaas.cli.trials import table_of
from raymaas.errors import InvalidInput
from raymaas.jobs.parts import JobParts
from raymaas.jobs.sweep import sweep, varied
from raymaas.registry.runs import Runs
from raymaas.registry.versions import Versions
from raymaas.specs.base import canonical_json, sha256_hex
from raymaas.specs.compression import CompressJob, settled
from raymaas.specs.jobs import TrainJob
from raymaas.specs.kinds import job_fields, parse_job
from raymaas.specs.runs import RunSpec
from raymaas.specs.search import (
    Broken,
    Dimension,
    Finished,
    Objective,
    Outcome,
    Stopped,
    Trial,
    dimension_of,
    every_point,
    extremes,
)
from raymaas.specs.sweeping import SweepJob
from raymaas.store import MemoryStore

NOW = datetime(2026, 1, 1, tzinfo=UTC)
TRAIN = {"model": "digits", "data": {"use": "digits"}, "architecture": {"use": "mlp"}}
COMPRESS = {
    "kind": "compress",
    "model": "digits",
    "parent": "digits@1",
    "recipe": [
        {"use": "prune", "config": {"sparsity": {"choice": [0.8, 0.9]}, "epochs": 4}},
        {"use": "quantize", "config": {"bits": {"integer": [3, 5]}}},
    ],
}
SWEEP = {"kind": "sweep", "job": TRAIN, "fields": {"training.learning_rate": {"loguniform": [1e-4, 1e-2]}}}


def test_a_mapping_with_one_known_key_is_a_dimension_and_other_values_are_not():
    assert dimension_of({"choice": [1, 2]}) == Dimension(kind="choice", values=(1, 2))
    assert dimension_of({"uniform": [0, 1]}) == Dimension(kind="uniform", values=(0, 1))
    for value in (3, "choice", [1], {}, {"choice": [1], "uniform": [0, 1]}, {"other": [1]}):
        assert dimension_of(value) is None


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({"choice": 3}, "choice takes a list"),
        ({"uniform": [1, 0]}, "the lower first"),
        ({"uniform": [0, 1, 2]}, "takes two numbers"),
        ({"integer": [1, 2.5]}, "whole numbers"),
        ({"loguniform": [0, 1]}, "above 0"),
    ],
)
def test_a_dimension_that_makes_no_sense_says_why(value, message):
    with pytest.raises(ValueError, match=message):
        dimension_of(value)


def test_choices_are_tried_whole_when_the_trials_suffice():
    space = {"a": Dimension(kind="choice", values=(1, 2)), "b": Dimension(kind="choice", values=("x", "y"))}
    assert every_point(space, at_most=4) == [
        {"a": 1, "b": "x"},
        {"a": 2, "b": "x"},
        {"a": 1, "b": "y"},
        {"a": 2, "b": "y"},
    ]
    assert every_point(space, at_most=3) is None
    assert every_point({"a": Dimension(kind="uniform", values=(0, 1))}, at_most=100) is None
    assert every_point({}, at_most=1) == [{}]


def test_extremes_have_every_choice_and_end_once():
    space = {"a": Dimension(kind="choice", values=(1, 2, 3)), "b": Dimension(kind="uniform", values=(0, 9))}
    assert list(extremes(space)) == [{"a": 1, "b": 0}, {"a": 2, "b": 0}, {"a": 3, "b": 0}, {"a": 1, "b": 9}]


def test_a_recipe_names_its_open_settings_and_a_point_settles_them():
    job = parse_job(COMPRESS, source="job")
    assert isinstance(job, CompressJob)
    assert list(job.space()) == ["prune.sparsity", "quantize.bits"]
    recipe = settled(job.recipe, {"prune.sparsity": 0.9, "quantize.bits": 4})
    assert [step.config for step in recipe] == [{"sparsity": 0.9, "epochs": 4}, {"bits": 4}]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"recipe": []}, "at least 1 item"),
        ({"recipe": [{"use": "prune"}, {"use": "prune"}]}, "'prune' is used twice"),
        ({"recipe": [{"use": "prune", "config": {"sparsity": {"uniform": [1, 0]}}}]}, "the lower first"),
        ({"parent": "letters@1"}, "'letters@1' is not a version of 'digits'"),
        ({"parent": "digits@"}, "not a reference"),
        ({"max_los": 1}, "did you mean 'max_loss'"),
    ],
)
def test_a_compress_job_that_cannot_be_carried_out_is_refused(change, message):
    with pytest.raises(InvalidInput, match=message):
        parse_job(COMPRESS | change, source="job")


def test_a_scheduler_with_several_metrics_is_refused_with_the_reason():
    two = [{"metric": "bytes", "mode": "min"}, {"metric": "accuracy", "mode": "max"}]
    parse_job(SWEEP | {"objectives": two}, source="job")
    parse_job(SWEEP | {"scheduler": "asha"}, source="job")
    with pytest.raises(InvalidInput, match=r"'asha' ranks trials by one metric, got 2 \(bytes, accuracy\)"):
        parse_job(SWEEP | {"objectives": two, "scheduler": "asha"}, source="job")


@pytest.mark.parametrize("fields", [{}, {"training.epochs": 3}])
def test_a_sweep_without_values_to_try_is_refused(fields):
    with pytest.raises(InvalidInput, match="fields"):
        parse_job(SWEEP | {"fields": fields}, source="job")


def test_a_sweep_varies_fields_and_names_those_that_do_not_exist():
    job = SweepJob.parse({k: v for k, v in SWEEP.items() if k != "kind"}, source="job")
    made = varied(job, {"training.learning_rate": 0.005})
    assert isinstance(made, TrainJob)
    assert made.training.learning_rate == 0.005
    with pytest.raises(InvalidInput, match="did you mean 'learning_rate'"):
        varied(job, {"training.learning_rat": 0.005})
    with pytest.raises(InvalidInput, match="greater than 0"):
        varied(job, {"training.learning_rate": -1.0})


def test_a_limit_that_no_trial_would_keep_is_refused():
    store = MemoryStore(lambda: NOW)
    job = SweepJob(job=TRAIN | {"budget": {"hours": 1}}, fields=SWEEP["fields"])
    parts = JobParts(
        store=store,
        versions=Versions(store),
        runs=Runs(store),
        run_id="run-1",
        say=lambda sentence: None,
        on_trial=lambda trial: None,
    )
    with pytest.raises(InvalidInput, match="no trial is stopped by a budget; leave it out"):
        sweep(job, parts)


def test_a_sweep_reaches_into_lists_and_wants_a_settled_recipe():
    job = SweepJob(job=COMPRESS, fields={"recipe.0.config.sparsity": {"choice": [0.5, 0.6]}})
    with pytest.raises(InvalidInput, match=r"leaves quantize\.bits open"):
        varied(job, {"recipe.0.config.sparsity": 0.5})
    with pytest.raises(InvalidInput, match="'7' is not a place from 0 to 1"):
        varied(job, {"recipe.7.config.sparsity": 0.5})
    made = varied(job, {"recipe.0.config.sparsity": 0.5, "recipe.1.config.bits": 4})
    assert isinstance(made, CompressJob)
    assert [step.config for step in made.recipe] == [{"sparsity": 0.5, "epochs": 4}, {"bits": 4}]


@pytest.mark.parametrize("document", [TRAIN, COMPRESS, SWEEP], ids=["train", "compress", "sweep"])
def test_every_kind_of_job_survives_its_run_document(document):
    job = parse_job(document, source="job")
    spec = RunSpec(run_id="run-1", job=job, who="me", created_at=NOW)
    assert RunSpec.unseal(spec.seal(), source="store").job == job
    assert parse_job(job_fields(job), source="job") == job


def test_a_trial_ends_once_and_is_read_back():
    runs = Runs(MemoryStore(lambda: NOW))
    runs.create(RunSpec(run_id="run-1", job=parse_job(SWEEP, source="job"), who="me", created_at=NOW))
    assert runs.trials("run-1") == ()
    good = Trial(
        run_id="run-1",
        trial="t-1",
        point={"a": 1},
        outcome=Finished(metrics={"loss": 0.5}, reports=1, seconds=1.0),
    )
    bad = Trial(run_id="run-1", trial="t-2", point={"a": 2}, outcome=Broken(error="no"))
    early = Stopped(reason="it lost too much", metrics={"loss": 9.0}, reports=1, seconds=1.0)
    given_up = Trial(run_id="run-1", trial="t-3", point={"a": 3}, outcome=early, ended_s=4.5)
    for trial in (good, bad, bad.model_copy(update={"outcome": good.outcome}), given_up):
        runs.add_trial(trial)
    assert runs.trials("run-1") == (good, bad, given_up)
    assert [trial.metrics for trial in runs.trials("run-1")] == [{"loss": 0.5}, {}, {"loss": 9.0}]


def test_a_trial_of_the_first_stores_is_read():
    outcome = {"state": "finished", "metrics": {"loss": 0.5}, "reports": 1, "seconds": 1.0, "files": {}}
    body = {"run_id": "run-1", "trial": "t-1", "point": {"a": 1}, "outcome": outcome}
    body |= {"kind": "trial", "format": 1}
    raw = canonical_json(body | {"digest": sha256_hex(canonical_json(body))})
    trial = Trial.unseal(raw, source="store")
    assert isinstance(trial.outcome, Finished)
    assert (trial.outcome.reused, trial.ended_s) == ((), None)


def test_a_line_says_how_a_trial_ended_and_the_table_lists_the_stopped_after_the_finished():
    def trial(a: int, outcome: Outcome) -> Trial:
        return Trial(run_id="run-1", trial=f"t-{a}", point={"a": a}, outcome=outcome)

    trials = [
        trial(1, Broken(error="no memory")),
        trial(2, Stopped(reason="the time was up", metrics={}, reports=0, seconds=2.0)),
        trial(3, Finished(metrics={"loss": 0.5}, reports=1, seconds=1.0, reused=("distill", "prune"))),
    ]
    assert [trial_line(one) for one in trials] == [
        "trial t-1  a 1  failed: no memory",
        "trial t-2  a 2  stopped after 2.0 s: the time was up",
        "trial t-3  a 3  loss 0.5  in 1.0 s, distill and prune taken from another trial",
    ]
    table = table_of(trials, [Objective(metric="loss", mode="min")])
    assert list(table.columns[0].cells) == ["t-3", "t-2", "t-1"]
    assert list(table.columns[2].cells) == ["0.5", "stopped", "failed"]
