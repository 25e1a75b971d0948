"""Labelled answers: what a model was asked and what turned out to be true, as a source of feedback gets it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime

import pyarrow as pa

from raymaas.specs.sampling import KeptUnder
from raymaas.specs.versions import Signature


@dataclass(frozen=True, eq=False)
class LabelledAnswers:
    """Rows that were answered between two moments and have a label, in the order in which they were answered.

    Columns of `rows`: request_id, row, version, at, label, and `in.NAME` for each input that was kept. `signature` is
    that of the version they are of, the newest of several.
    """

    model: str
    signature: Signature
    rows: pa.Table
    kept_under: KeptUnder = field(default_factory=KeptUnder)


AskForLabelled = Callable[[str, datetime, datetime], LabelledAnswers]
"""Of a model, `digits`, or a version, `digits@3`: what was answered after the first moment, until the second."""
