"""Schedules: the rate of a step is torch's own scheduler's, and a function of the step alone; epochs or steps."""

import pytest
import torch
from torch.optim import lr_scheduler

from raymaas.errors import InvalidInput
from raymaas.specs.jobs import Training
from raymaas.train.schedules import Course, learning_rate

ROWS, EPOCH_STEPS = 20, 5  # in batches of 4


def rates(**training: object) -> list[float]:
    spec = Training(epochs=6, batch_size=4, learning_rate=0.1, **training)
    course = Course.of(spec, rows=ROWS)
    return [learning_rate(spec, course, step=step) for step in range(course.steps)]


def rates_of_torch(make: object, steps: int) -> list[float]:
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.1)
    scheduler = make(optimizer)
    found = []
    for _ in range(steps):
        found.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return found


@pytest.mark.parametrize(
    ("schedule", "theirs"),
    [
        ({}, lambda o: lr_scheduler.ConstantLR(o, factor=1.0)),
        (
            {"use": "cosine", "final": 0.25},
            lambda o: lr_scheduler.CosineAnnealingLR(o, T_max=30, eta_min=0.025),
        ),
        ({"use": "linear"}, lambda o: lr_scheduler.PolynomialLR(o, total_iters=30)),
        (
            {"use": "step", "every_epochs": 2, "factor": 0.5},
            lambda o: lr_scheduler.StepLR(o, step_size=2 * EPOCH_STEPS, gamma=0.5),
        ),
    ],
)
def test_a_schedule_is_what_torch_calls_by_the_same_name(schedule, theirs):
    assert rates(schedule=schedule) == pytest.approx(rates_of_torch(theirs, 30))


def test_a_fall_leaves_a_tenth_unless_told_otherwise():
    assert rates(schedule={"use": "step", "every_epochs": 3})[14:16] == pytest.approx([0.1, 0.01])


def test_warmup_rises_to_the_full_rate_and_the_schedule_has_what_is_left():
    found = rates(schedule={"use": "linear", "warmup_epochs": 2})
    assert found[:10] == pytest.approx([0.01 * (step + 1) for step in range(10)])
    assert found[10:] == pytest.approx([0.1 * (1 - step / 20) for step in range(20)])


def test_a_warmup_longer_than_the_steps_only_rises():
    spec = Training(steps=3, batch_size=4, schedule={"use": "cosine", "warmup_epochs": 2})
    course = Course.of(spec, rows=ROWS)
    assert [learning_rate(spec, course, step=s) for s in range(3)] == pytest.approx([1e-4, 2e-4, 3e-4])


def test_steps_replace_epochs_and_cut_the_last_one_short():
    course = Course.of(Training(steps=12, batch_size=4), rows=ROWS)
    assert (course.epochs, [list(course.steps_of(epoch)) for epoch in (1, 3)]) == (
        3,
        [[0, 1, 2, 3, 4], [10, 11]],
    )


def test_a_step_of_lbfgs_is_an_epoch():
    assert Course.of(Training(epochs=7, optimizer="lbfgs"), rows=ROWS) == Course(steps=7, epoch_steps=1)


def test_a_document_in_steps_reads_back_as_it_was_written():
    spec = Training.parse({"steps": 9}, source="here")
    assert spec.epochs is None
    assert Training.parse(spec.model_dump(mode="json"), source="again") == spec


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({"epochs": 3, "steps": 9}, "epochs and steps both say when to stop"),
        ({"epochs": None}, "give epochs or steps"),
        ({"momentum": 0.9}, "momentum belongs to sgd"),
        ({"optimizer": "sgd", "nesterov": True}, "nesterov needs momentum"),
        ({"l2": 0.1, "weight_decay": 0.1}, "weight_decay and l2 both"),
        ({"optimizer": "lbfgs", "weight_decay": 0.1}, "lbfgs has no weight_decay; use l2"),
        ({"optimizer": "lbfgs", "clip_norm": 1}, "lbfgs cannot clip"),
        ({"optimizer": "lbfgs", "schedule": {"use": "cosine"}}, "leave schedule out"),
        ({"optimizer": "lbfgs", "precision": "bf16"}, "needs precision fp32"),
        ({"loss": "hinge", "label_smoothing": 0.1}, "label_smoothing belongs to cross_entropy"),
        ({"batch_size": 4, "accumulate": 5}, "a batch of 4 rows in 5 pieces"),
        ({"epochs": 3, "schedule": {"warmup_epochs": 4}}, "longer than all 3 epochs"),
        ({"keep": "last", "early_stopping": {}}, "early_stopping keeps the best weights"),
        ({"schedule": {"use": "step"}}, "needs every_epochs"),
        ({"schedule": {"use": "cosine", "factor": 0.5}}, "factor belongs to {use: step}"),
        ({"schedule": {"final": 0.5}}, "final belongs to {use: cosine}"),
        ({"class_weights": [1, -1]}, "greater than 0"),
    ],
)
def test_what_contradicts_itself_is_refused_with_a_way_out(fields, sentence):
    with pytest.raises(InvalidInput, match=sentence):
        Training.parse(fields, source="here")
