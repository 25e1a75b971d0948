"""What is written is run: the README's program and the examples print what they say they print."""

from __future__ import annotations

from pathlib import Path

import pytest
from journey_home import ROOT, Home, Written

pytestmark = [pytest.mark.journey]


def test_the_readmes_dozen_lines_print_what_it_says(readme: Written) -> None:
    assert readme.printed == readme.said


@pytest.mark.parametrize("example", sorted((ROOT / "examples").glob("*.py")), ids=lambda path: path.stem)
def test_an_example_prints_what_its_end_says(home: Home, digits: str, example: Path) -> None:
    source = example.read_text()
    _, marker, expected = source.partition("# prints:\n")

    assert marker, f"{example.name} does not end with what it prints"
    assert len(source.splitlines()) <= 60
    assert home.python(example) == "".join(
        line.removeprefix("#").removeprefix(" ") for line in expected.splitlines(True)
    )
