"""What a search tries next: seeds first, no point twice, and the sampler that was asked for, told of all that ended."""

from collections.abc import Mapping

import optuna
import pytest
from optuna.samplers import NSGAIISampler, TPESampler
from ray.tune.search import Searcher

from raymaas.specs.search import (
    Broken,
    Dimension,
    Effort,
    Finished,
    Objective,
    Outcome,
    Point,
    Stopped,
    Trial,
    lies_in,
    trial_name,
)
from raymaas.sweep.asking import Asker, sampler_of

SHARE = Dimension(kind="uniform", values=(0.5, 0.97))
RATE = Dimension(kind="loguniform", values=(1e-4, 1e-2))
BITS = Dimension(kind="integer", values=(2, 4))
STUDENTS = Dimension(kind="choice", values=({"use": "mlp"}, {"use": "cnn"}, None))
BOTH = (Objective(metric="bytes", mode="min"), Objective(metric="accuracy", mode="max"))
USUAL = Effort()
GOOD = {"bytes": 10.0, "accuracy": 0.9}


def ended(point: Point, outcome: Outcome, *, at_s: float = 0.0) -> Trial:
    return Trial(run_id="r", trial=trial_name(point), point=dict(point), outcome=outcome, ended_s=at_s)


def asker(
    space: Mapping[str, Dimension],
    *,
    effort: Effort = USUAL,
    first: tuple[Point, ...] = (),
    done: tuple[Trial, ...] = (),
) -> Asker:
    sampler = sampler_of(effort, going_on_after=len(done))
    return Asker(space, BOTH, sampler=sampler, first=first, done=done)


def study_of(asker: Asker) -> optuna.Study:
    return asker._study


def asked(asker: Asker, count: int) -> list[Point]:
    points = []
    for number in range(count):
        points.append(asker.suggest(f"tune-{number}"))
        asker.on_trial_complete(f"tune-{number}", GOOD)
    return points


def test_the_effort_says_what_draws():
    assert isinstance(sampler_of(Effort(), going_on_after=0), TPESampler)
    crossing = [sampler_of(Effort(sampler="nsga2", trials=n), going_on_after=0) for n in (3, 60, 1000)]
    assert all(isinstance(sampler, NSGAIISampler) for sampler in crossing)
    assert [sampler.population_size for sampler in crossing] == [4, 12, 50], "some generations fit the trials"


def test_nsga2_copies_the_settings_of_good_trials():
    search = asker({"share": SHARE, "rate": RATE}, effort=Effort(sampler="nsga2", trials=20))
    points = asked(search, 20)

    assert len({trial_name(point) for point in points}) == 20
    assert len({point["share"] for point in points}) < 20


def test_seeds_are_tried_first_as_they_are_and_those_that_are_done_are_not():
    first = ({"share": 0.93217}, {"share": 0.6}, {"share": 0.7})
    done = (ended({"share": 0.6}, Finished(metrics=GOOD, reports=1, seconds=1)),)

    assert asked(asker({"share": SHARE}, first=first, done=done), 2) == [{"share": 0.93217}, {"share": 0.7}]


def test_a_seed_that_is_named_twice_is_tried_once():
    first = ({"share": 0.6}, {"share": 0.7}, {"share": 0.6})
    points = asked(asker({"share": SHARE}, first=first), 3)

    assert points[:2] == [{"share": 0.6}, {"share": 0.7}]
    assert points[2]["share"] not in (0.6, 0.7)


def test_the_sampler_is_told_of_finished_and_stopped_trials_and_learns_nothing_from_failed_ones():
    outcomes: list[Outcome] = [
        Stopped(reason="hopeless", metrics={"bytes": 9.0, "accuracy": 0.1}, reports=1, seconds=1),
        Broken(error="no"),
        Finished(metrics=GOOD, reports=1, seconds=1),
        Stopped(reason="time", metrics={}, reports=0, seconds=1),
    ]
    points: list[Point] = [{"share": 0.5 + place / 10} for place in range(4)]
    done = [ended(p, o, at_s=9 - n) for n, (p, o) in enumerate(zip(points, outcomes, strict=True))]
    trials = study_of(asker({"share": SHARE}, done=tuple(done))).trials

    assert [trial.params["share"] for trial in trials] == [0.8, 0.7, 0.6, 0.5], "in the order they ended"
    assert [trial.values for trial in trials] == [None, [10.0, 0.9], None, [9.0, 0.1]]


def test_a_search_that_goes_on_draws_other_points():
    done = (ended({"share": 0.6}, Finished(metrics=GOOD, reports=1, seconds=1)),)
    before, after = asked(asker({"share": SHARE}), 3), asked(asker({"share": SHARE}, done=done), 3)
    assert not {point["share"] for point in before} & {point["share"] for point in after}


def test_no_point_is_given_twice_and_a_space_that_is_used_up_ends_the_search():
    search = asker({"bits": BITS, "student": STUDENTS})
    points = asked(search, 9)

    assert {trial_name(point) for point in points} == {
        trial_name({"bits": bits, "student": student}) for bits in (2, 3, 4) for student in STUDENTS.values
    }
    assert search.suggest("tune-9") == Searcher.FINISHED


def test_ranges_are_drawn_to_about_three_digits_and_within_their_ends():
    points = asked(asker({"share": SHARE, "rate": RATE}), 30)

    assert all(lies_in({"share": SHARE, "rate": RATE}, point) for point in points)
    assert all(round(float(str(point["share"])), 3) == point["share"] for point in points)
    assert all(float(f"{point['rate']:.2e}") == point["rate"] for point in points)


@pytest.mark.parametrize(
    ("point", "inside"),
    [
        ({"share": 0.97, "bits": 2, "student": None}, True),
        ({"share": 0.98, "bits": 2, "student": None}, False),
        ({"share": 0.6, "bits": 2.5, "student": None}, False),
        ({"share": 0.6, "bits": True, "student": None}, False),
        ({"share": "0.6", "bits": 2, "student": None}, False),
        ({"share": 0.6, "bits": 2, "student": {"use": "gru"}}, False),
        ({"share": 0.6, "bits": 2}, False),
        ({"share": 0.6, "bits": 2, "student": None, "more": 1}, False),
    ],
)
def test_a_point_lies_in_a_space_when_every_field_may_take_its_value(point, inside):
    assert lies_in({"share": SHARE, "bits": BITS, "student": STUDENTS}, point) is inside


@pytest.mark.parametrize("sampler", ["tpe", "nsga2"])
def test_any_seed_will_do(sampler):
    drawing = sampler_of(Effort(sampler=sampler, seed=2**63), going_on_after=1)
    drawn = optuna.create_study(sampler=drawing).ask({"share": optuna.distributions.FloatDistribution(0, 1)})
    assert 0 <= drawn.params["share"] <= 1
