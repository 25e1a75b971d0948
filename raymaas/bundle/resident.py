"""How much memory a version takes: that of a fresh process which opens it and answers one batch."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
import orjson
import psutil

from raymaas.bundle.runtimes.opening import load_runtime
from raymaas.errors import RunFailed
from raymaas.specs.versions import Signature

_TIMEOUT_S = 120.0
_INPUTS, _TASK = "inputs.npz", "task.json"


class Resident(NamedTuple):
    """Bytes of memory held by the process."""

    before: int
    """With numpy and raymaas, before any library of a runtime."""
    after: int


def resident_of(
    runtime: str, files: Mapping[str, bytes], *, signature: Signature, inputs: Mapping[str, np.ndarray]
) -> Resident:
    """Of a process with one thread that loads verified `files` into `runtime` and runs `inputs`.

    Raises RunFailed, with what the process said last, when it does not come to that.
    """
    with tempfile.TemporaryDirectory(prefix="raymaas-") as folder:
        for name, data in files.items():
            (Path(folder) / name).write_bytes(data)
        np.savez(Path(folder) / _INPUTS, **inputs)  # type: ignore[arg-type]
        task = {"runtime": runtime, "signature": signature.model_dump(mode="json"), "files": list(files)}
        (Path(folder) / _TASK).write_bytes(orjson.dumps(task))
        # What this process can import the new one can, however it came to be here.
        paths = {"PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "OMP_NUM_THREADS": "1"}
        try:
            done = subprocess.run(
                [sys.executable, "-P", "-m", __name__, folder],
                env={**os.environ, **paths},
                cwd=folder,
                capture_output=True,
                timeout=_TIMEOUT_S,
                check=True,
            )
        except subprocess.TimeoutExpired:
            raise RunFailed(f"a process that opened {runtime} did not end within {_TIMEOUT_S:g} s") from None
        except subprocess.CalledProcessError as error:
            said = error.stderr.decode(errors="replace").strip().splitlines()
            raise RunFailed(
                f"a process that opened {runtime} failed: {said[-1] if said else 'no word'}"
            ) from None
    return Resident(**orjson.loads(done.stdout.splitlines()[-1]))


def _answer(folder: Path) -> Resident:
    process = psutil.Process()
    task = orjson.loads((folder / _TASK).read_bytes())
    files = {name: (folder / name).read_bytes() for name in task["files"]}
    with np.load(folder / _INPUTS, allow_pickle=False) as saved:
        inputs = dict(saved)
    before = process.memory_info().rss
    signature = Signature.parse(task["signature"], source=_TASK)
    load_runtime(task["runtime"], files, signature=signature).run(inputs)
    return Resident(before, process.memory_info().rss)


if __name__ == "__main__":
    found = _answer(Path(sys.argv[1]))
    sys.stdout.write(orjson.dumps(found._asdict()).decode() + "\n")
