"""One trial of a compression: what it leaves after each pass, when it is given up, what others take from it."""

import pickle
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
import torch
from recipe_ground import MORE, clouds, compress_job

from raymaas.bundle.files import CODED
from raymaas.bundle.rmz.container import write
from raymaas.compress.recipe import carry_out
from raymaas.jobs.ground import Ground
from raymaas.jobs.recipes import Patience, RecipeTrial
from raymaas.specs.compression import CompressJob, Gate, settled
from raymaas.specs.search import Point
from raymaas.sweep.search import Report

BITS = {"use": "quantize", "config": {"bits": {"choice": [3, 5]}, "epochs": 1}}
PRUNE = {"use": "prune", "config": {"sparsity": 0.6, "epochs": 2, "ramp": 0.5}}
THREE, FIVE = {"quantize.bits": 3}, {"quantize.bits": 5}


@dataclass
class Kept:
    """A shelf in this process; values pass through bytes, as between processes."""

    values: dict[str, bytes] = field(default_factory=dict)

    def keep(self, key: str, value: object, *, nbytes: int) -> None:
        self.values.setdefault(key, pickle.dumps(value))

    def find(self, key: str) -> Any:
        return pickle.loads(self.values[key]) if key in self.values else None


@pytest.fixture(scope="module")
def ground() -> Ground:
    return clouds()


def carried_out(
    job: CompressJob, ground: Ground, point: Point, patience: Patience | None = None
) -> list[Report]:
    told: list[Report] = []
    RecipeTrial(job, patience)(point, ground, told.append)
    return told


def test_a_trial_leaves_the_file_there_would_be_after_each_pass_and_looking_changes_nothing(ground):
    job = compress_job(PRUNE, BITS)
    told = carried_out(job, ground, THREE)

    assert [set(report.files) for report in told] == [set(), {"after-prune.rmz", CODED}]
    pruned = carried_out(compress_job(PRUNE), ground, {})[-1]
    assert told[-1].files["after-prune.rmz"] == pruned.files[CODED]
    assert told[0].metrics == pruned.metrics
    assert told[0].metrics["bytes"] > told[1].metrics["bytes"]
    subject = ground.subject(job)
    compressed = carry_out(settled(job.recipe, THREE), subject)
    assert told[-1].files[CODED] == write(subject.architecture, compressed.tensors)


STUDENT = {"student": {"use": "mlp", "config": {"hidden": [8]}}, "epochs": 1}
TAUGHT = {"teacher": "other@1", "transfer_data": MORE.model_dump(), "alpha": 0.5, "epochs": 1}


@pytest.mark.parametrize(
    "prefix",
    [
        [PRUNE],
        [{"use": "l1", "config": {"strength": 0.1, "epochs": 1}}, PRUNE],
        [{"use": "distill", "config": STUDENT}, PRUNE],
        [{"use": "distill", "config": TAUGHT}, PRUNE],
        [{"use": "channels", "config": {"keep": 0.5, "epochs": 1}}, PRUNE],
        [{"use": "lowrank", "config": {"rank": 2, "least": 1, "epochs": 1}}, PRUNE],
    ],
    ids=lambda prefix: prefix[0]["use"] + ("-taught" if "teacher" in prefix[0]["config"] else ""),
)
def test_a_trial_goes_on_from_where_another_was_with_the_same_passes_and_gets_the_very_same_bits(
    ground, prefix
):
    job = compress_job(*prefix, BITS)
    alone = carried_out(job, ground, FIVE)[-1]
    shared = replace(ground, shelf=Kept())
    first = carried_out(job, shared, THREE)
    second = carried_out(job, shared, FIVE)

    assert first[-1].reused == ()
    assert second[-1].reused == tuple(step["use"] for step in prefix)
    assert second[0].metrics == first[-2].metrics
    assert second[-1].files == alone.files
    assert second[-1].metrics == alone.metrics


def test_only_what_another_recipe_of_the_search_may_need_is_kept(ground):
    shelf = Kept()
    finetune = {"use": "finetune", "config": {"epochs": 1}}
    job = compress_job(
        {"use": "prune", "config": {"sparsity": {"uniform": [0.1, 0.9]}, "epochs": 1}}, finetune
    )
    carried_out(job, replace(ground, shelf=shelf), {"prune.sparsity": 0.5})
    assert not shelf.values, "what follows prune is settled"
    carried_out(compress_job(PRUNE, finetune, BITS), replace(ground, shelf=shelf), THREE)
    assert len(shelf.values) == 2


def patience(ground: Ground, *, times: float) -> Patience:
    return Patience(Gate(metric="accuracy", max_loss=0.01), reached=1.0, times=times)


HARSH = {"use": "prune", "config": {"sparsity": 0.999, "epochs": 1}}


def test_a_recipe_that_lost_too_much_is_given_up_and_says_what_it_had(ground):
    told = carried_out(compress_job(HARSH, BITS), ground, THREE, patience(ground, times=4))

    assert len(told) == 1
    assert told[0].hopeless.startswith("after prune its validation accuracy is 0.")
    assert "1.0000 of the parent; up to 4 times 0.01 may be lost" in told[0].hopeless
    assert told[0].metrics["validation_accuracy"] < 0.9
    assert not told[0].files


def test_patience_may_be_endless_and_is_kept_with_what_chance_explains(ground):
    assert carried_out(compress_job(HARSH, BITS), ground, THREE, patience(ground, times=0))[-1].files
    lenient = Patience(Gate(metric="accuracy", max_loss=0.2), reached=1.0, times=4)
    assert carried_out(compress_job(HARSH, BITS), ground, THREE, lenient)[-1].files


def test_a_pass_that_does_not_train_is_judged_by_what_later_ones_make_of_it(ground):
    at_once = {"use": "prune", "config": {"sparsity": 0.999, "epochs": 0}}
    mended = {"use": "finetune", "config": {"epochs": 1}}
    told = carried_out(compress_job(at_once, mended, BITS), ground, THREE, patience(ground, times=4))

    assert [report.hopeless.partition(" its")[0] for report in told] == ["", "after finetune"]


def test_a_recipe_that_begins_like_one_that_was_given_up_is_given_up_at_once(ground):
    shared, job = replace(ground, shelf=Kept()), compress_job(HARSH, BITS)
    first = carried_out(job, shared, THREE, patience(ground, times=4))
    second = carried_out(job, shared, FIVE, patience(ground, times=4))

    assert second == [replace(first[-1], reused=("prune",))]


def test_a_pass_that_changes_nothing_leaves_no_file_of_its_own(ground):
    nothing = {"use": "prune", "config": {"sparsity": 0, "epochs": 0}}
    zlib = {"use": "entropy", "config": {"coder": "zlib"}}
    told = carried_out(
        compress_job({"use": "finetune", "config": {"epochs": 1}}, nothing, BITS, zlib), ground, THREE
    )

    assert set(told[-1].files) == {"after-finetune.rmz", "after-quantize.rmz", CODED}
    assert len(told[-1].files["after-quantize.rmz"]) < len(told[-1].files[CODED]), (
        "of all coders the smallest"
    )


def test_the_parents_answers_are_taken_as_they_are_given(ground):
    job = compress_job(PRUNE)
    given = ground.subject(job)
    asked = replace(ground, answers_N=None).subject(job)

    assert torch.equal(given.taught_N, asked.taught_N)
    assert given.taught_N.data_ptr() == ground.answers_N.ctypes.data
    assert given.x_ND.data_ptr() == ground.train.x_ND.ctypes.data
