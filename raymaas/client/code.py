"""Code of the user's own on its way to the workers: one archive, named by its digest, the same bytes each time.

It holds the top-level package, or the one module, that `my_package.net:Net` names. Whoever trains unpacks it and
imports from there; nothing of it runs where jobs are accepted or versions are served.
"""

from __future__ import annotations

import io
import shutil
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path

from raymaas.errors import InvalidInput
from raymaas.specs.kinds import Job
from raymaas.specs.own_code import own_code

MAX_CODE_BYTES = 8 * 1024 * 1024
_EPOCH = (1980, 1, 1, 0, 0, 0)  # of every file, so that only content changes the digest
_LEFT_OUT = ("__pycache__", ".pyc")


def pack(use: str, root: Path) -> bytes:
    """The archive of what `use` names below `root`.

    Raises InvalidInput when it is not there, or larger than `MAX_CODE_BYTES`.
    """
    top = use.partition(":")[0].partition(".")[0]
    files = sorted(_files(root, top))
    if not files:
        raise InvalidInput(
            f"{use!r}: neither {top}/ nor {top}.py is in {root}; put the job file beside the package"
        )
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for file in files:
            archive.writestr(zipfile.ZipInfo(file.relative_to(root).as_posix(), _EPOCH), file.read_bytes())
    if packed.tell() > MAX_CODE_BYTES:
        raise InvalidInput(
            f"the code of {use!r} is {packed.tell()} bytes packed; at most {MAX_CODE_BYTES} travel with a job: keep"
            " data out of the package"
        )
    return packed.getvalue()


def unpack(packed: bytes, folder: Path) -> None:
    """Put the files of an archive of `pack` below `folder`, which appears with all of them at once."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    unfinished = Path(tempfile.mkdtemp(prefix=f"{folder.name}-", dir=folder.parent))
    with zipfile.ZipFile(io.BytesIO(packed)) as archive:
        archive.extractall(unfinished)
    try:
        unfinished.rename(folder)
    except OSError:
        if not folder.exists():
            raise
        shutil.rmtree(unfinished)  # another process was first


def code_of(job: Job, *, folder: Path) -> bytes | None:
    """The archive a job must be submitted with: of the code of one's own that it names, below `folder`; else None."""
    use = own_code(job)
    return None if use is None else pack(use, folder)


def _files(root: Path, top: str) -> Iterator[Path]:
    if (root / f"{top}.py").is_file():
        yield root / f"{top}.py"
    for path in (root / top).rglob("*"):
        if path.is_file() and not any(part.endswith(_LEFT_OUT) for part in path.parts):
            yield path
