"""The job's own code, made importable where it trains: driver, workers, trials, folds."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from raymaas.registry.code import read_code
from raymaas.specs.jobs import TrainJob
from raymaas.store import Store


def bring_code(job: TrainJob, store: Store) -> None:
    """Let this process import the code that `job` was submitted with; nothing for a job without any.

    Raises NotFound and IntegrityError as `read_code`.
    """
    if (code := job.code) is not None:
        importable(code, lambda: read_code(store, code))


def importable(code: str, packed: Callable[[], bytes]) -> None:
    """Let this process import from the archive of that digest, which `packed` gives where it is not unpacked yet.

    Each archive has a folder of its own for as long as the process lives.
    """
    folder = Path(tempfile.gettempdir()) / f"raymaas-code-{code}"
    if str(folder) in sys.path:
        return
    if not folder.exists():
        # Here, so that workers of other jobs do not import the client, which takes them half a second.
        from raymaas.client.code import unpack

        unpack(packed(), folder)
    sys.path.insert(0, str(folder))
