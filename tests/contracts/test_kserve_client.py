"""KServe's own client against a real server: JSON and binary tensors, and why something is refused."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest
from protocol_server import protocol_server

ROOT = Path(__file__).parents[2]
PYTHON = ROOT / ".venv" / "kserve" / "bin" / "python"


@pytest.mark.skipif(not PYTHON.exists(), reason="`make test` installs KServe's client in .venv/kserve")
def test_what_kserves_client_sends_is_understood_and_it_understands_the_answer() -> None:
    with protocol_server() as url:
        asked = subprocess.run(
            [str(PYTHON), str(ROOT / "tests" / "kserve_asks.py"), url],
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
    assert asked.returncode == 0, asked.stderr
    found = json.loads(asked.stdout)
    assert (found["live"], found["ready"], found["model_ready"]) == (True, True, True)
    answer = {"id": "r7", "model": "m", "double": [[2, 4], [6, 8], [10, 12]], "loud": ["a!", "ü!", "long!"]}
    assert found["json"] == answer
    assert found["binary"] == answer
    assert "input 'x': expected shape [-1, 2], got [1]" in found["refused"]
