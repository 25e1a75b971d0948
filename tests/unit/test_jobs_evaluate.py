"""Evaluate jobs, on real small versions: own rows and others, slices, disturbances, comparisons, samples, refusals."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from evaluation_examples import DIGITS, parts, table, trained

from raymaas.data.dataset import open_dataset
from raymaas.errors import InvalidInput, NotFound
from raymaas.evaluate.density import binarised, draws
from raymaas.jobs.evaluate import evaluate, told
from raymaas.jobs.judging import Subject
from raymaas.jobs.origin import rows_of_version
from raymaas.registry.reports import Reports
from raymaas.registry.runs import Runs
from raymaas.registry.versions import Versions
from raymaas.serve.comparison import recorded_comparison
from raymaas.specs.evaluating import EvaluateJob
from raymaas.specs.reports import Comparison, SamplesFigures, VersionFigures
from raymaas.specs.runs import RunSpec
from raymaas.specs.versions import ModelVersion
from raymaas.store import LocalStore, Store


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """digits@1, digits@2 trained longer, digits@3 on another division of the rows; churn, a regression, a gan."""
    folder = tmp_path_factory.mktemp("store")
    store = LocalStore(folder)
    trained(store, DIGITS, "d1")
    trained(store, DIGITS | {"training": {"epochs": 15, "learning_rate": 0.01, "keep": "last"}}, "d2")
    trained(store, DIGITS | {"split": {"seed": 9}}, "d3")
    trained(store, table(folder / "people.csv"), "c1")
    trained(
        store,
        {
            "model": "sugar",
            "data": {"use": "diabetes"},
            "architecture": {"use": "mlp_regressor", "config": {"hidden": [8]}},
            "training": {"epochs": 2},
        },
        "s1",
    )
    gan = {
        "use": "gan",
        "config": {"latent": 4, "generator": [8], "discriminator": [8], "input_scale": 0.0625},
    }
    trained(
        store,
        {"model": "faker", "data": {"use": "digits"}, "architecture": gan, "training": {"epochs": 1}},
        "g1",
    )
    return store


_runs: Iterator[int] = iter(range(10_000))


def found(store: Store, model: str, /, **how: Any) -> Any:
    job = EvaluateJob.parse({"model": model, "how": how}, source="job")
    return evaluate(job, parts(store, f"evaluate-{next(_runs)}")).found


def test_a_version_on_its_own_test_rows_has_the_figures_it_was_published_with(store: Store) -> None:
    measured = found(store, "digits", by="data", version="digits@2")
    assert isinstance(measured, VersionFigures)
    assert measured.version == "digits@2"
    assert measured.evaluation == Versions(store).get("digits", 2).evaluation
    assert measured.evaluation.confusion
    assert (measured.slices, measured.robustness, measured.notes) == ((), (), ())


def test_a_bare_name_and_an_alias_mean_what_they_mean_elsewhere(store: Store) -> None:
    assert found(store, "churn", by="data", version="churn").version == "churn@1"
    with pytest.raises(NotFound, match="alias 'prod' of 'digits' does not exist"):
        found(store, "digits", by="data", version="digits@prod")


def test_slices_by_class_hold_every_row_and_their_accuracies_add_up(store: Store) -> None:
    measured = found(store, "digits", by="data", version="digits@2", slices=("class", "class == 3"))
    evaluation, ten = measured.evaluation, measured.slices[:10]
    assert [part.slice for part in ten] == [f"class = {digit}" for digit in range(10)]
    assert sum(part.rows for part in ten) == evaluation.rows
    right = sum(part.metrics["accuracy"].value * part.rows for part in ten)
    assert right / evaluation.rows == pytest.approx(evaluation.metrics["accuracy"].value)
    assert [part.metrics["accuracy"].value for part in ten] == [c.recall.value for c in evaluation.classes]
    assert measured.slices[10].rows == ten[3].rows
    assert measured.slices[10].metrics["accuracy"] == ten[3].metrics["accuracy"]


def test_noise_costs_accuracy_and_more_noise_more(store: Store) -> None:
    measured = found(store, "digits", by="data", version="digits@2", robustness=True)
    figures = [one.figure.value for one in measured.robustness]
    assert {one.metric for one in measured.robustness} == {"accuracy"}
    assert measured.evaluation.metrics["accuracy"].value >= figures[0] > figures[2]
    assert len(figures) == 6, "noise, and values replaced by their mean"


def test_every_row_of_its_own_data_is_asked_about_with_a_warning(store: Store) -> None:
    measured = found(store, "digits", by="data", version="digits@2", part="all")
    assert measured.evaluation.rows == 1797
    assert measured.evaluation.part == "all"
    assert "those it was trained on" in measured.notes[0]
    named = found(store, "digits", by="data", version="digits@2", data={"use": "digits"})
    assert named.evaluation.rows == 360, "its own data by name is its own data"


def people(folder: Path, text: str) -> dict[str, Any]:
    (folder / "other.csv").write_text(text)
    return {"use": "csv", "config": {"path": str(folder / "other.csv"), "label": "left", "name": "others"}}


def test_another_data_set_is_taken_by_its_columns_names_and_its_labels_words(
    store: Store, tmp_path: Path
) -> None:
    """The columns stand in another order, and `yes` is the first label here and the second of the version."""
    text = "left,town,income,age\n" + "yes,north,5.5,60\n" * 20 + "no,south,1.0,25\n" * 20 + "no,mars,1.0,\n"
    other = people(tmp_path, text)
    other["config"]["classes"] = ["yes", "no"]
    measured = found(store, "churn", by="data", version="churn@1", data=other, slices=("age", "town == mars"))
    assert measured.evaluation.dataset == "others"
    assert measured.evaluation.rows == 41
    assert measured.evaluation.metrics["accuracy"].value == 1
    assert {part.slice: part.rows for part in measured.slices}["age missing"] == 1
    assert measured.slices[-2].warning == "only 1 rows"


def test_raw_columns_are_sliced_and_disturbed_as_a_client_would_send_them(store: Store) -> None:
    measured = found(store, "churn", by="data", version="churn@1", slices=("age > 40",), robustness=True)
    above, others = measured.slices
    assert above.rows + others.rows == measured.evaluation.rows
    by_name = {(one.disturbance, one.severity): one.figure.value for one in measured.robustness}
    assert by_name["share of the values missing", 0.5] < measured.evaluation.metrics["accuracy"].value


@pytest.mark.parametrize(
    ("how", "said"),
    [
        (
            {"data": {"use": "wine"}},
            r"'wine' does not fit digits@2: input 'x' must be FP32 .* got float32 \[178, 13\]",
        ),
        ({"data": {"use": "diabetes"}}, "it has numbers to predict, and classification needs labels"),
        ({"data": {"use": "wine"}, "part": "test"}, "brings no test part of its own; use --part all"),
        ({"slices": ("age",)}, "no column 'age' to slice by; there are class"),
    ],
)
def test_rows_that_do_not_fit_are_refused_naming_what_differs(store: Store, how: Any, said: str) -> None:
    with pytest.raises(InvalidInput, match=said):
        found(store, "digits", by="data", version="digits@2", **how)


def test_a_missing_column_and_an_unknown_label_are_named(store: Store, tmp_path: Path) -> None:
    short = people(tmp_path, "left,income,age\nyes,5,60\nno,1,25\n")
    with pytest.raises(InvalidInput, match="fit churn@1: it has no column 'town'; it has age, income"):
        found(store, "churn", by="data", version="churn@1", data=short)
    strange = people(tmp_path, "left,town,income,age\nmaybe,north,5,60\nno,south,1,25\n")
    with pytest.raises(InvalidInput, match="rows of 'maybe', and the version tells 'no', 'yes' apart"):
        found(store, "churn", by="data", version="churn@1", data=strange)


def test_a_regression_stands_beside_the_mean_of_its_training_rows(store: Store) -> None:
    evaluation = found(store, "sugar", by="data", version="sugar@1").evaluation
    assert set(evaluation.metrics) == {"mse", "rmse", "mae", "r2"}
    division = rows_of_version(store, Versions(store).get("sugar", 1))
    constant = division.train.y_N.mean(dtype=np.float64)
    rmse = float(np.sqrt(((division.test.y_N - constant) ** 2).mean()))
    assert evaluation.baselines["the mean of the training rows"]["rmse"] == pytest.approx(rmse)
    assert evaluation == Versions(store).get("sugar", 1).evaluation
    assert evaluation.leading()[0] == "rmse"


def test_the_recorded_comparison_is_that_of_asking_both_again(store: Store) -> None:
    first, second = (Versions(store).get("digits", n) for n in (1, 2))
    recorded = recorded_comparison(Versions(store), first, second).comparison
    asked = found(store, "digits", by="comparison", version="digits@1", other="digits@2")
    assert isinstance(asked, Comparison)
    assert recorded is not None
    assert (recorded.source, asked.source) == ("recorded", "evaluated")
    assert set(recorded.differences) == {"accuracy", "log_loss"}
    for name in recorded.differences:
        ours, theirs = recorded.differences[name], asked.differences[name]
        assert (ours.value, ours.low, ours.high) == pytest.approx(
            (theirs.value, theirs.low, theirs.high), abs=1e-6
        )
    assert recorded.mcnemar == asked.mcnemar
    value = second.evaluation.metrics["f1"].value - first.evaluation.metrics["f1"].value
    assert asked.differences["f1"].value == pytest.approx(value)
    assert told(asked) == asked.verdict
    assert asked.verdict.startswith("digits@2 is better than digits@1: +")
    assert "rows only digits@2 gets right" in asked.verdict


def test_versions_of_other_divisions_are_compared_on_rows_held_out_from_both(store: Store) -> None:
    first, second = (Versions(store).get("digits", n) for n in (2, 3))
    recorded = recorded_comparison(Versions(store), first, second)
    assert recorded.comparison is None
    assert "fingerprint" in recorded.why
    asked = found(store, "digits", by="comparison", version="digits@2", other="digits@3")
    held_out = [set(rows_of_version(store, version).test.id_N.tolist()) for version in (first, second)]
    assert asked.rows == len(held_out[0] & held_out[1])
    assert 30 < asked.rows < 200
    whole = found(
        store,
        "digits",
        by="comparison",
        version="digits@2",
        other="digits@3",
        data={"use": "digits"},
        part="all",
    )
    assert whole.rows == 1797


def test_versions_for_different_things_are_not_compared(store: Store) -> None:
    with pytest.raises(InvalidInput, match="digits@1 is for classification and sugar@1 for regression"):
        found(store, "digits", by="comparison", version="digits@1", other="sugar@1")
    with pytest.raises(InvalidInput, match=r"tells 0, 1, .* apart and churn@1 no, yes"):
        found(store, "digits", by="comparison", version="digits@1", other="churn@1")


def test_a_classifier_judges_what_a_generator_draws(store: Store) -> None:
    judged = found(store, "faker", by="samples", version="faker@1", judge="digits@2", samples=200)
    assert isinstance(judged, SamplesFigures)
    assert list(judged.found) == [str(digit) for digit in range(10)]
    assert sum(judged.found.values()) == 200
    assert judged.classes_found == sum(count > 0 for count in judged.found.values())
    shares = np.array([count / 200 for count in judged.found.values() if count])
    assert judged.entropy.value == pytest.approx(-(shares * np.log(shares)).sum(), abs=1e-9)
    assert told(judged).startswith(f"digits@2 finds {judged.classes_found} of 10 classes, entropy ")
    again = found(store, "faker", by="samples", version="faker@1", judge="digits@2", samples=200)
    assert again.found == judged.found
    assert again.probability == judged.probability
    other = found(store, "faker", by="samples", version="faker@1", judge="digits@2", samples=200, seed=1)
    assert other.probability != judged.probability


def test_who_draws_nothing_and_who_is_no_judge_is_refused(store: Store) -> None:
    with pytest.raises(InvalidInput, match="digits@1 has no method 'sample'"):
        found(store, "digits", by="samples", version="digits@1", judge="digits@2")
    with pytest.raises(InvalidInput, match="sugar@1 is for regression and cannot judge"):
        found(store, "faker", by="samples", version="faker@1", judge="sugar@1")
    with pytest.raises(InvalidInput, match="churn@1 cannot judge the samples of faker@1: input"):
        found(store, "faker", by="samples", version="faker@1", judge="churn@1")


def test_what_was_found_is_kept_with_the_run_and_the_first_report_counts(store: Store) -> None:
    job = EvaluateJob.parse({"model": "digits", "how": {"by": "data", "version": "digits@1"}}, source="job")
    said: list[str] = []
    report = evaluate(job, parts(store, "kept", said=said))
    assert said[-1].startswith("digits@1: accuracy 0.9")
    assert said[-1].endswith("on 360 rows of digits")
    assert Reports(store).of_run("kept") == report
    other = job.model_copy(update={"how": job.how.model_copy(update={"version": "digits@2"})})
    assert evaluate(other, parts(store, "kept")) == report
    with pytest.raises(NotFound, match="run 'nothing' has no report"):
        Reports(store).of_run("nothing")


def test_a_run_remembers_what_it_was_asked_to_measure(store: Store) -> None:
    how = {"by": "folds", "job": {"kind": "train", **DIGITS}, "folds": 3}
    job = EvaluateJob.parse({"model": "digits", "how": how}, source="job")
    at = store.now()
    spec = Runs(store).create(RunSpec(run_id="asked", job=job, who="ana", created_at=at))
    assert Runs(store).spec("asked").job == spec.job == job


def test_a_discriminator_is_scored_on_the_rows_it_was_not_trained_on(store: Store) -> None:
    version: ModelVersion = Versions(store).get("faker", 1)
    assert set(version.evaluation.metrics) == {"accuracy_on_data", "real"}
    rows = open_dataset(store, version.lineage.dataset, version.lineage.data_fingerprint).card.rows
    assert version.evaluation.rows == pytest.approx(rows / 5, abs=1)


def test_a_density_of_binary_rows_is_scored_on_binary_rows(store: Store) -> None:
    config = {"latent": 2, "hidden": [8], "binarize": True, "input_scale": 0.0625, "draws": 2}
    vae = {"use": "vae", "config": config}
    trained(
        store,
        {"model": "dense", "data": {"use": "digits"}, "architecture": vae, "training": {"epochs": 1}},
        "v1",
    )
    version = Versions(store).get("dense", 1)
    evaluation = found(store, "dense", by="data", version="dense@1").evaluation
    assert evaluation == version.evaluation
    subject = Subject.of_version(Versions(store), version)
    x_ND = rows_of_version(store, version).test.x_ND
    drawn_ND = binarised(x_ND, scale=0.0625, draw=draws())
    assert set(np.unique(drawn_ND)) == {0, 16}
    asked = [float(subject.runtime.run({"x": rows_ND})["elbo"].mean()) for rows_ND in (drawn_ND, x_ND)]
    assert evaluation.metrics["elbo"].value == pytest.approx(asked[0], rel=1e-5)
    assert evaluation.metrics["elbo"].value != pytest.approx(asked[1], rel=5e-4)


def test_a_language_stands_beside_gzip_and_xz_and_is_not_disturbed(store: Store) -> None:
    gpt = {"use": "gpt", "config": {"width": 16, "heads": 2, "depth": 1}}
    data = {"use": "python_help", "config": {"window": 64}}
    job = {"model": "help", "data": data, "split": {"test": "given"}, "architecture": gpt}
    trained(store, job | {"training": {"steps": 2, "batch_size": 8}}, "l1")
    evaluation = Versions(store).get("help", 1).evaluation
    assert 4 < evaluation.metrics["bits_per_byte"].value < 10
    assert 2 < evaluation.baselines["gzip -9 of these rows"]["bits_per_byte"] < 2.4
    assert 1.9 < evaluation.baselines["xz -9 of these rows"]["bits_per_byte"] < 2.3
    with pytest.raises(InvalidInput, match="help@1 reads bytes"):
        found(store, "help", by="data", version="help@1", robustness=True)
