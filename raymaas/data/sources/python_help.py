"""The help topics that come with Python, as text for a language model of bytes."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
from pydantic import Field

from raymaas.data.sources.base import DataFiles, Source
from raymaas.data.table import PARTS, table_of_rows


class PythonHelp(Source):
    """The 466,000 bytes that `help()` says on Python itself; its own last tenth by `split: {test: given}`.

    The topics of `pydoc_data.topics`, a chapter of The Python Language Reference each, in alphabetical order of
    their names. A row is `window` bytes, values 0 to 255, which follow those of the row before; what is left
    at the end is dropped. Another release of Python has other bytes, and so another fingerprint.
    """

    window: int = Field(128, ge=2, description="Bytes in a row.")

    def table(self, files: DataFiles) -> pa.Table:
        from pydoc_data.topics import topics  # half a megabyte of text, only needed here

        text = np.frombuffer("".join(topics[name] for name in sorted(topics)).encode(), np.uint8)
        count = len(text) // self.window
        part_N = np.full(count, PARTS["train"])
        part_N[count - count // 10 :] = PARTS["test"]
        return table_of_rows(text[: count * self.window].reshape(count, self.window), part_N=part_N)
