"""The layer contracts hold, and each of them fails when it is broken."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def lint(folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(Path(sys.executable).parent / "lint-imports"), "--no-cache"],
        cwd=folder,
        env={"PYTHONPATH": str(folder), "PATH": ""},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


@pytest.mark.parametrize(
    ("module", "line", "contract"),
    [
        ("specs/names.py", "import raymaas.registry.log", "The floors of the house"),
        ("store/local.py", "import raymaas.client.client", "The floors of the house"),
        ("registry/log.py", "import ray", "Ray is imported at the rim only"),
        ("client/wire.py", "import fsspec", "The core install needs no server library"),
        ("serve/plan.py", "import httpx", "Decisions do not speak HTTP"),
        ("data/dataset.py", "import s3fs", "Only the store knows fsspec and S3"),
    ],
)
def test_a_broken_contract_is_reported(tmp_path: Path, module: str, line: str, contract: str) -> None:
    shutil.copytree(ROOT / "raymaas", tmp_path / "raymaas", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / ".importlinter", tmp_path)
    file = tmp_path / "raymaas" / module
    file.write_text(file.read_text() + f"\n{line}\n")

    done = lint(tmp_path)

    assert done.returncode == 1, done.stdout + done.stderr
    broken = [text for text in done.stdout.splitlines() if text.endswith("BROKEN")]
    assert any(text.startswith(contract) for text in broken), done.stdout
