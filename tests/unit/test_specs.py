"""Documents: what is written is what is read, and what is wrong is said by name."""

from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from raymaas.errors import (
    IntegrityError,
    InvalidInput,
    QuotaExceeded,
    RaymaasError,
    RunFailed,
    error_from_wire,
)
from raymaas.specs.base import Document, canonical_json, sha256_hex
from raymaas.specs.jobs import TrainJob
from raymaas.specs.kinds import parse_job
from raymaas.specs.names import Reference, check_alias, check_name, new_run_id
from raymaas.specs.problem import Problem
from raymaas.specs.serving import ModelState, Scaling

JOB = {"model": "digits", "data": {"use": "digits"}, "architecture": {"use": "mlp"}}


def test_a_sealed_document_reads_back_as_itself() -> None:
    job = parse_job(JOB, source="job.yaml")

    assert TrainJob.unseal(job.seal(), source="store") == job


def test_every_flipped_byte_of_a_sealed_document_is_refused() -> None:
    sealed = parse_job(JOB, source="job.yaml").seal()

    for position in range(len(sealed)):
        damaged = bytearray(sealed)
        damaged[position] ^= 0x01
        with pytest.raises(IntegrityError):
            TrainJob.unseal(bytes(damaged), source="store")


class _First(Document):
    kind = "cup"
    millilitres: int


class _Third(Document):
    """Format 2 renamed the field, format 3 changed its unit."""

    kind = "cup"
    format = 3
    volume_l: float

    @classmethod
    def upgraded(cls, body: dict[str, Any], number: int) -> dict[str, Any]:
        if number == 1:
            return {"volume_ml": body["millilitres"]}
        return {"volume_l": body["volume_ml"] / 1000}


def test_a_document_of_an_older_format_is_read_through_each_step() -> None:
    old = _First(millilitres=250).seal()
    assert _Third.unseal(old, source="cup.json") == _Third(volume_l=0.25)
    with pytest.raises(InvalidInput, match=r"cup\.json has format 3 of 'cup'; this raymaas reads up to 1"):
        _First.unseal(_Third(volume_l=0.25).seal(), source="cup.json")


def test_a_document_of_a_newer_format_is_refused_by_name() -> None:
    body = orjson.loads(parse_job(JOB, source="job.yaml").seal())
    del body["digest"]
    body["format"] = 99
    resealed = canonical_json(body | {"digest": sha256_hex(canonical_json(body))})

    with pytest.raises(InvalidInput, match=r"format 99 of 'train'.*Upgrade"):
        TrainJob.unseal(resealed, source="store")


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"scalling": {}}, "scalling: unknown field; did you mean 'scaling'?"),
        ({"training": {"epoch": 3}}, "training.epoch: unknown field; did you mean 'epochs'?"),
        (
            {"training": {"early_stopping": {"patiense": 3}}},
            "training.early_stopping.patiense: unknown field; did you mean 'patience'?",
        ),
        ({"training": {"epochs": 0}}, "training.epochs: input should be greater than or equal to 1, got 0"),
        ({"model": "Digits!"}, "model: 'Digits!' is not a name"),
        ({"split": {"validation": 0.6, "test": 0.5}}, "validation + test must leave rows"),
    ],
)
def test_a_mistake_in_a_job_is_named_with_its_field(change: dict[str, object], sentence: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        parse_job(JOB | change, source="job.yaml")

    assert str(caught.value).startswith("job.yaml: ")
    assert sentence in str(caught.value)


def test_a_missing_field_and_an_unknown_kind_are_named() -> None:
    with pytest.raises(InvalidInput, match="model: required field is missing"):
        parse_job({"data": {"use": "digits"}, "architecture": {"use": "mlp"}}, source="job.yaml")
    with pytest.raises(
        InvalidInput, match="kind 'trian' is unknown; known are compress, evaluate, sweep, train"
    ):
        parse_job(JOB | {"kind": "trian"}, source="job.yaml")


@pytest.mark.parametrize("text", ["digits", "digits@3", "digits@prod", "a.b-c_1@x"])
def test_references_print_as_they_were_read(text: str) -> None:
    assert str(Reference.parse(text)) == text


@pytest.mark.parametrize(
    "text", ["", "Digits", "../x", "a/b", "digits@", "digits@0", "digits@a/b", "-x", "a" * 64]
)
def test_what_is_no_reference_is_refused(text: str) -> None:
    with pytest.raises(InvalidInput, match="not a reference"):
        Reference.parse(text)


@given(st.text(max_size=80))
def test_a_name_never_contains_what_a_path_could_misread(text: str) -> None:
    try:
        name = check_name(text)
    except ValueError:
        return
    assert not set(name) & set("/\\ \n\0@")
    assert name not in (".", "..")


def test_an_alias_cannot_be_read_as_a_version() -> None:
    with pytest.raises(ValueError, match="would be read as a version"):
        check_alias("3")


def test_run_ids_are_names_and_differ() -> None:
    ids = {new_run_id("train", "m" * 63) for _ in range(50)}

    assert len(ids) == 50
    assert all(check_name(each) for each in ids)


def state(**fields: object) -> ModelState:
    change = {"action": "traffic", "summary": "x", "who": "me", "at": "2026-01-01T00:00:00Z"}
    base = {"model": "digits", "revision": 1, "write_id": "w", "change": change}
    return ModelState.parse(base | fields, source="state")


def test_a_state_whose_weights_do_not_sum_to_100_or_are_not_deployed_is_refused() -> None:
    with pytest.raises(InvalidInput, match="sum to 100, got 90"):
        state(traffic={1: 90}, scaling={1: {}})
    with pytest.raises(InvalidInput, match="version 2 has traffic but is not deployed"):
        state(traffic={1: 90, 2: 10}, scaling={1: {}})
    with pytest.raises(InvalidInput, match="each as often as traffic says"):
        state(traffic={1: 90, 2: 10}, scaling={1: {}, 2: {}}, buckets=[1] * 89 + [2] * 11)


def test_scaling_bounds_must_be_in_order() -> None:
    with pytest.raises(InvalidInput, match=r"max_replicas \(1\) is below min_replicas \(2\)"):
        Scaling.parse({"min_replicas": 2}, source="scaling")


@pytest.mark.parametrize(
    "error",
    [cls("what happened") for cls in RaymaasError.__subclasses__() if cls.__module__ == "raymaas.errors"],
)
def test_each_error_class_survives_the_wire(error: RaymaasError) -> None:
    problem = Problem.parse(Problem.of(error, status=400).model_dump(mode="json"), source="wire")

    assert type(problem.to_error()) is type(error)
    assert str(problem.to_error()) == "what happened"


def test_an_error_keeps_its_details_and_an_unknown_code_is_still_an_error() -> None:
    quota = error_from_wire("quota-exceeded", "slow down", {"retry_after_s": 7.5, "other": 1})
    failed = error_from_wire("run-failed", "it failed", {"run": "train-1"})

    assert isinstance(quota, QuotaExceeded)
    assert quota.retry_after_s == 7.5
    assert isinstance(failed, RunFailed)
    assert failed.run == "train-1"
    assert type(error_from_wire("from-the-future", "hm")) is RaymaasError
