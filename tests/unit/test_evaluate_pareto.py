"""The Pareto front: who is on it, where it bends, what it has won."""

from raymaas.evaluate.pareto import Candidate, front, hypervolume, knee, spread
from raymaas.specs.search import Objective

OBJECTIVES = (Objective(metric="bytes", mode="min"), Objective(metric="accuracy", mode="max"))


def candidate(name: str, size: float, accuracy: float, **settings: object) -> Candidate:
    return Candidate(name, settings, {"bytes": size, "accuracy": accuracy})


SMALL = candidate("small", 10, 0.8, bits=2)
MIDDLE = candidate("middle", 20, 0.9, bits=3)
LARGE = candidate("large", 30, 0.95, bits=4)
WORSE = candidate("worse", 25, 0.9, bits=5)


def test_the_front_is_what_no_other_beats():
    assert front([LARGE, WORSE, SMALL, MIDDLE], OBJECTIVES) == [LARGE, SMALL, MIDDLE]


def test_equal_points_are_all_on_the_front():
    twin = candidate("twin", 10, 0.8)
    assert front([SMALL, twin], OBJECTIVES) == [SMALL, twin]


def test_with_one_objective_the_front_is_the_best():
    assert front([SMALL, LARGE, MIDDLE], OBJECTIVES[1:]) == [LARGE]


def test_the_knee_is_farthest_from_the_line_between_the_ends():
    steep = candidate("steep", 12, 0.94)
    assert knee([LARGE, WORSE, SMALL, MIDDLE, steep], OBJECTIVES) == steep
    assert knee([WORSE], OBJECTIVES) == WORSE


def test_the_hypervolume_is_the_area_between_the_front_and_the_reference():
    # 30 wide to 0.8 + 0.1 from 20 wide + 0.05 from 10 wide, above an accuracy of 0.5.
    area = hypervolume([LARGE, WORSE, SMALL, MIDDLE], OBJECTIVES, reference=(40, 0.5))
    assert abs(area - (30 * 0.3 + 20 * 0.1 + 10 * 0.05)) < 1e-12
    assert hypervolume([LARGE, MIDDLE], OBJECTIVES, reference=(20, 0.5)) == 0


def test_a_candidate_that_is_beaten_adds_no_hypervolume():
    without = hypervolume([LARGE, MIDDLE], OBJECTIVES, reference=(40, 0.5))
    assert hypervolume([LARGE, MIDDLE, WORSE], OBJECTIVES, reference=(40, 0.5)) == without


def test_places_are_spread_evenly_after_those_that_must_be_among_them():
    assert spread(11, always=[0], most=3) == [0, 10, 5]
    assert spread(11, always=[0, 2], most=4) == [0, 2, 10, 6]
    assert spread(3, always=[0, 2], most=8) == [0, 2, 1]
    assert spread(5, always=[0, 3, 0], most=1) == [0, 3]
