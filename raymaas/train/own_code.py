"""The job's own code, made importable where it trains: driver, workers, trials, folds."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from raymaas.registry.code import read_code
from raymaas.specs.jobs import TrainJob
from raymaas.store import Store


def bring_code(job: TrainJob, store: Store) -> None:
    """Let this process import the code that `job` was submitted with; nothing for a job without any.

    Each archive has a folder of its own for as long as the process lives. Raises NotFound and IntegrityError as
    `read_code`.
    """
    if job.code is None:
        return
    folder = Path(tempfile.gettempdir()) / f"raymaas-code-{job.code}"
    if str(folder) in sys.path:
        return
    if not folder.exists():
        # Here, so that workers of other jobs do not import the client, which takes them half a second.
        from raymaas.client.code import unpack

        unpack(read_code(store, job.code), folder)
    sys.path.insert(0, str(folder))
