"""Writes Parquet files of many rows, in a process of its own: what that takes is no memory of whoever reads them.

Two of a row's 512 numbers decide its class.
"""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

WIDTH = 512
FILE_MB = 10


def write_elsewhere(folder: Path, *, megabytes: int) -> None:
    """So many megabytes of float32 in `folder`, in files of ten."""
    subprocess.run([sys.executable, __file__, str(folder), str(megabytes // FILE_MB)], check=True)


def _write(folder: Path, files: int) -> None:
    generator = np.random.default_rng(0)
    rows = FILE_MB * 1_000_000 // (4 * WIDTH)
    for number in range(files):
        x_ND = generator.integers(0, 4, size=(rows, WIDTH), dtype=np.uint8).astype(np.float32)
        columns = {
            "x": pa.FixedSizeListArray.from_arrays(pa.array(x_ND.reshape(-1)), WIDTH),
            "label": pa.array(x_ND[:, 0] + x_ND[:, 1] > 3),
        }
        pq.write_table(pa.table(columns), folder / f"{number:03}.parquet", row_group_size=1000)


if __name__ == "__main__":
    _write(Path(sys.argv[1]), int(sys.argv[2]))
