import pytest

from raymaas.errors import InvalidInput
from raymaas.specs.compression import CompressJob, Gate
from raymaas.specs.evaluation import Evaluation, Metric
from raymaas.specs.tasks import Task
from raymaas.specs.versions import ModelVersion


def parent(task: Task, **metrics: float) -> ModelVersion:
    found = {
        name: Metric(value=value, low=value, high=value, method="exact") for name, value in metrics.items()
    }
    evaluation = Evaluation(dataset="d", fingerprint="f", rows=1, runtime="torch", metrics=found)
    return ModelVersion.model_construct(model="m", version=1, task=task, evaluation=evaluation)


def gate(version: ModelVersion, **fields: object) -> Gate:
    return CompressJob.parse({"model": "m", **fields}, source="job").gate(version)


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


def test_a_network_whose_metrics_do_not_judge_what_it_makes_needs_one_to_be_named() -> None:
    gan = parent("adversarial", accuracy_on_data=0.6, real=0.5)

    with pytest.raises(
        InvalidInput, match=r"name the one that may not get worse, metric: accuracy_on_data or real"
    ):
        gate(gan)
    assert gate(gan, metric="real").metric == "real"


def test_an_unknown_metric_is_told_with_those_there_are() -> None:
    with pytest.raises(InvalidInput, match="'f1' is none of m's: accuracy"):
        gate(parent("classification", accuracy=0.9), metric="f1")
