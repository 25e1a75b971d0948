"""The Pareto front: who is on it, as a table, as a picture."""

import csv
import io

from raymaas.evaluate.pareto import Candidate, front, front_csv, front_png, hypervolume, knee
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


def test_the_table_has_every_candidate_with_its_settings_and_marks_the_front():
    rows = list(csv.DictReader(io.StringIO(front_csv([LARGE, WORSE, SMALL], OBJECTIVES).decode())))
    assert [row["trial"] for row in rows] == ["small", "worse", "large"]
    assert [row["front"] for row in rows] == ["1", "1", "1"]
    rows = list(csv.DictReader(io.StringIO(front_csv([MIDDLE, WORSE], OBJECTIVES).decode())))
    assert [(row["trial"], row["front"], row["bits"]) for row in rows] == [
        ("middle", "1", "3"),
        ("worse", "0", "5"),
    ]
    assert float(rows[0]["accuracy"]) == 0.9


def test_the_picture_is_a_png_and_the_same_for_the_same_trials():
    first = front_png([LARGE, WORSE, SMALL], OBJECTIVES, title="digits")
    assert first.startswith(b"\x89PNG\r\n\x1a\n")
    assert first == front_png([LARGE, WORSE, SMALL], OBJECTIVES, title="digits")
    assert first != front_png([LARGE, SMALL], OBJECTIVES, title="digits")


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
