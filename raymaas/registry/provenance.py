"""Provenance: which code and which libraries made something, as facts measured in this process."""

from __future__ import annotations

import hashlib
import subprocess
from collections.abc import Iterable
from functools import cache
from importlib import metadata
from pathlib import Path

from raymaas.specs.versions import CodeVersion


@cache
def source_sha256() -> str:
    """Digest over the names and bytes of every Python file of the installed raymaas."""
    root = Path(__file__).parents[1]
    digest = hashlib.sha256()
    for path in sorted(root.rglob("*.py")):
        digest.update(str(path.relative_to(root)).encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()


def code_version(directory: Path) -> CodeVersion:
    """This raymaas, and the git commit of `directory` when it is in a repository ('+changes' when it has some)."""
    return CodeVersion(
        raymaas=metadata.version("raymaas"), source_sha256=source_sha256(), commit=_commit(directory)
    )


def library_versions(names: Iterable[str]) -> dict[str, str]:
    """Installed versions by distribution name; an absent one is left out."""
    found = {}
    for name in names:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def _commit(directory: Path) -> str | None:
    head = _git(directory, "rev-parse", "HEAD")
    if head is None:
        return None
    return f"{head}+changes" if _git(directory, "status", "--porcelain", "--untracked-files=no") else head


def _git(directory: Path, *arguments: str) -> str | None:
    try:
        done = subprocess.run(
            ["git", "-C", str(directory), *arguments], capture_output=True, text=True, timeout=10, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None
