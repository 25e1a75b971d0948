import pytest

from raymaas.errors import InvalidInput
from raymaas.specs.compression import CompressJob, Gate, known_good, settled
from raymaas.specs.evaluation import Evaluation, Metric
from raymaas.specs.search import lies_in
from raymaas.specs.tasks import Task
from raymaas.specs.versions import ModelVersion


def parent(task: Task, **metrics: float) -> ModelVersion:
    found = {
        name: Metric(value=value, low=value, high=value, method="exact") for name, value in metrics.items()
    }
    evaluation = Evaluation(dataset="d", fingerprint="f", rows=1, runtime="torch", metrics=found)
    return ModelVersion.model_construct(model="m", version=1, task=task, evaluation=evaluation)


def gate(version: ModelVersion, **fields: object) -> Gate:
    job = CompressJob.parse({"model": "m", **fields}, source="job")
    metric, known = job.gate_metric(version), version.evaluation.metrics
    return job.gate(metric, reached=known[metric].value if metric in known else 0.0)


def test_a_share_is_given_in_points_and_half_a_point_may_be_lost_by_default() -> None:
    version = parent("classification", accuracy=0.98, log_loss=0.1)

    assert gate(version) == Gate(metric="accuracy", max_loss=0.005)
    assert gate(version, max_loss=0.2).max_loss == pytest.approx(0.002)
    assert gate(version, max_accuracy_loss=0.2) == gate(version, max_loss=0.2)


def test_of_any_other_metric_a_fiftieth_may_be_lost_by_default() -> None:
    language = parent("language", bits_per_byte=1.8)

    assert gate(language).metric == "bits_per_byte"
    assert gate(language).max_loss == pytest.approx(0.036)
    assert gate(language, max_loss=0.1).max_loss == 0.1
    assert gate(parent("density", elbo=-100.0)).max_loss == pytest.approx(2)


def test_worse_is_more_or_less_as_the_metric_has_it() -> None:
    bits, accuracy = Gate(metric="bits_per_byte", max_loss=0.1), Gate(metric="accuracy", max_loss=0.1)

    assert bits.loss(2.0, parent=1.5) == 0.5
    assert accuracy.loss(0.75, parent=1.0) == 0.25
    assert [objective.mode for objective in (*bits.objectives, *accuracy.objectives)] == [
        "min",
        "min",
        "min",
        "max",
    ]


def test_a_network_that_makes_rows_is_judged_by_how_like_its_parents_they_are() -> None:
    gan = parent("adversarial", accuracy_on_data=0.6, real=0.5)

    assert gate(gan) == Gate(metric="sample_error", max_loss=0.25)
    assert gate(gan).mode == "min"
    assert gate(gan, max_loss=0.1).max_loss == 0.1
    assert gate(gan, metric="real").metric == "real"
    with pytest.raises(InvalidInput, match="'sample_error' is none of m's: accuracy"):
        gate(parent("classification", accuracy=0.9), metric="sample_error")


def test_an_unknown_metric_is_told_with_those_there_are() -> None:
    with pytest.raises(InvalidInput, match="'f1' is none of m's: accuracy"):
        gate(parent("classification", accuracy=0.9), metric="f1")


def job(**fields: object) -> CompressJob:
    return CompressJob.parse({"model": "m", **fields}, source="job")


def test_one_rule_or_several_are_chosen_by_each_once() -> None:
    assert job().choose == ("smallest",)
    assert job(choose="knee").choose == ("knee",)
    assert job(choose="smallest, fastest").choose == ("smallest", "fastest")
    assert job(choose=["fastest", "knee", "fastest"]).choose == ("fastest", "knee")
    with pytest.raises(InvalidInput, match="input should be 'smallest', 'fastest' or 'knee', got 'least'"):
        job(choose="least")
    with pytest.raises(InvalidInput, match="choose: name one rule at least"):
        job(choose=[])


def test_a_job_of_one_rule_is_written_as_the_first_stores_have_it() -> None:
    assert job(choose="knee").model_dump(mode="json")["choose"] == "knee"
    for fields in ({}, {"choose": "smallest,knee"}):
        assert CompressJob.unseal(job(**fields).seal(), source="job") == job(**fields)


def test_seeds_that_are_not_among_what_is_searched_are_refused() -> None:
    recipe = [{"use": "quantize", "config": {"bits": {"integer": [3, 6]}}}]

    assert job(recipe=recipe, seeds=[{"quantize.bits": 4}]).seeds == ({"quantize.bits": 4},)
    for seed in ({"quantize.bits": 7}, {"quantize.bits": 4, "prune.sparsity": 0.5}, {}):
        with pytest.raises(InvalidInput, match=r"a seed gives a value of its own to each of quantize\.bits"):
            job(recipe=recipe, seeds=[seed])


def test_the_default_space_begins_with_known_recipes_and_another_one_with_none() -> None:
    space = job().space()

    known = known_good(space)
    assert known
    assert all(lies_in(space, point) for point in known)
    assert known_good(job(recipe=[{"use": "quantize", "config": {"bits": {"choice": [4]}}}]).space()) == ()


def test_a_setting_within_a_setting_can_be_searched_too() -> None:
    student = {"use": "mlp", "config": {"hidden": {"choice": [[64], [32, 16]]}}}
    searched = job(recipe=[{"use": "distill", "config": {"student": student, "epochs": 2}}])

    assert list(searched.space()) == ["distill.student.config.hidden"]
    (step,) = settled(searched.recipe, {"distill.student.config.hidden": [32, 16]})
    assert step.config == {"student": {"use": "mlp", "config": {"hidden": [32, 16]}}, "epochs": 2}
