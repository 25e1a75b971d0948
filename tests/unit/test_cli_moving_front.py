"""The front on a terminal: where its recipes stand, and that it moves as trials end."""

from __future__ import annotations

import io

from compression_examples import GATE, RUN, trial
from rich.console import Console

from raymaas.cli.moving_front import moving_front
from raymaas.specs.search import Broken, Trial

SMALL, LARGE = trial("a", 300, 0.93), trial("b", 3000, 0.96)


def shown(*trials: Trial) -> list[str]:
    console = Console(file=io.StringIO(), width=100)
    console.print(moving_front(trials, GATE))
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue().splitlines()


def place(lines: list[str], mark: str) -> list[tuple[int, int]]:
    """Column and line of each mark within the picture."""
    picture = [line.split("│", 1)[1] for line in lines if "│" in line]
    return [(column, row) for row, line in enumerate(picture) for column, c in enumerate(line) if c == mark]


def test_the_smaller_stands_to_the_left_and_the_better_above() -> None:
    lines = shown(LARGE, SMALL)

    (large, small) = place(lines, "●")
    assert large[0] > small[0]
    assert large[1] < small[1]
    assert lines[0].startswith("2 recipes, 2 on the front")
    assert any(line.startswith("300 ") for line in lines)


def test_a_recipe_that_is_beaten_leaves_the_front() -> None:
    before, after = shown(LARGE), shown(LARGE, trial("c", 2000, 0.97))

    assert len(place(before, "●")) == len(place(after, "●")) == 1
    assert len(place(after, "·")) == 1
    assert any(line.startswith("2,000") for line in after)
    assert not any(line.startswith("3,000") for line in after)


def test_what_is_far_beyond_the_gate_does_not_press_the_others_together() -> None:
    near = place(shown(LARGE, SMALL), "●")

    lines = shown(LARGE, SMALL, trial("bad", 30, 0.1))

    assert sorted(row for _, row in place(lines, "●")) == [0, 9, 9]
    assert [row for _, row in near] == [0, 9]


def test_while_nothing_is_through_it_says_so() -> None:
    assert shown(Trial(run_id=RUN, trial="t", point={}, outcome=Broken(error="e"))) == [
        "no recipe is through yet"
    ]
