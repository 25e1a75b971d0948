"""What is learned of a model's pace, and what is expected of it."""

from __future__ import annotations

import random

import pytest

from raymaas.serve.pace import Pace


def learned(*batches: tuple[int, float], times: int = 9) -> Pace:
    pace = Pace()
    for rows, seconds in batches:
        for _ in range(times):
            pace.observe(rows, seconds)
    return pace


def test_before_anything_was_measured_one_row_is_all_that_is_dared() -> None:
    assert Pace().seconds(1) is None
    assert Pace().rows_within(10.0) == 1


def test_a_larger_batch_is_expected_to_take_its_share_until_it_is_measured() -> None:
    pace = learned((1, 0.01))
    assert pace.seconds(8) == pytest.approx(0.08)
    assert pace.rows_within(0.0801) == 8
    for _ in range(9):
        pace.observe(8, 0.02)
    assert pace.seconds(8) == pytest.approx(0.02)
    assert pace.rows_within(0.0801) == 32
    assert pace.seconds(1) == pytest.approx(0.01)


def test_nothing_is_said_of_fewer_rows_than_were_ever_measured() -> None:
    assert learned((8, 0.02)).seconds(1) is None


@pytest.mark.parametrize("outlier_s", [100.0, 1e-9])
def test_a_few_odd_measurements_change_nothing(outlier_s: float) -> None:
    pace = learned((1, 0.01))
    for _ in range(4):
        pace.observe(1, outlier_s)
    assert pace.seconds(1) == pytest.approx(0.01)


def test_a_slow_beginning_and_a_slow_spell_are_forgotten() -> None:
    pace = Pace()
    pace.observe(1, 5.0)
    for _ in range(3):
        pace.observe(1, 0.001)
    assert pace.rows_within(0.0501) == 50
    pace = learned((1, 0.001), (8, 0.004), (8, 9.0))
    assert pace.rows_within(0.0501) == 50  # larger batches are tried again: smaller ones are fast
    for _ in range(9):
        pace.observe(64, 0.032)
    assert pace.rows_within(0.0501) == 100


def test_what_fits_is_what_is_expected_to_take_no_longer() -> None:
    draw = random.Random(0)
    for _ in range(200):
        pace = Pace()
        for _ in range(draw.randint(1, 12)):
            pace.observe(draw.randint(1, 300), draw.uniform(1e-5, 1e-1))
        within_s = draw.uniform(1e-4, 1.0)
        rows = pace.rows_within(within_s)
        assert rows == 1 or (pace.seconds(rows) or 0.0) <= within_s
