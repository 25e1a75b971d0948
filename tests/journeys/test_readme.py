"""What is written is run: the README's program and the examples print what they say they print."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from journey_home import ROOT, Home

pytestmark = [pytest.mark.journey]


def run(program: Path, home: Home) -> str:
    done = subprocess.run(
        [sys.executable, str(program)],
        cwd=ROOT,
        env=home.shell_environment(),
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_readmes_dozen_lines_print_what_it_says(home: Home, digits: str, tmp_path: Path) -> None:
    text = (ROOT / "README.md").read_text()
    program, printed = re.search(r"```python\n(.*?)```.*?```text\n(.*?)```", text, re.DOTALL).groups()  # type: ignore[union-attr]
    file = tmp_path / "readme.py"
    file.write_text(program)

    assert run(file, home) == printed


@pytest.mark.parametrize("example", sorted((ROOT / "examples").glob("*.py")), ids=lambda path: path.stem)
def test_an_example_prints_what_its_end_says(home: Home, digits: str, example: Path) -> None:
    source = example.read_text()
    _, marker, expected = source.partition("# prints:\n")

    assert marker, f"{example.name} does not end with what it prints"
    assert len(source.splitlines()) <= 60
    assert run(example, home) == "".join(
        line.removeprefix("#").removeprefix(" ") for line in expected.splitlines(True)
    )
