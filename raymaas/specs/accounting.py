"""Accounting: what a coded weights file takes, part by part, what it computes with and how fast, and beside what."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from pydantic import Field

from raymaas.specs.base import Spec
from raymaas.specs.runtimes import RuntimeName

Calibrator = Literal["minmax", "percentile"]

BATCH = 64
"""Rows by which runtimes are compared."""


class Latency(Spec):
    """Of the network's own input through a loaded runtime with one thread, warmed up."""

    rows: int = Field(ge=1, description="In a batch.")
    p50_ms: float = Field(description="Milliseconds for a batch, half of them less.")
    p99_ms: float = Field(description="Likewise, 99 of 100 less.")
    rows_per_s: float = Field(description="Rows in a second, at the median.")


class RuntimeFinding(Spec):
    """What a version was found to be in one runtime, where it was made."""

    runtime: RuntimeName
    passed: bool = Field(description="Whether the gate lets it be served so.")
    reason: str = Field("", description="Why it was not passed.")
    value: float | None = Field(
        default=None, description="The gate's metric on validation rows; absent where there is no artifact."
    )
    latencies: tuple[Latency, ...] = ()
    file_bytes: int | None = Field(default=None, description="Of all files that this runtime reads.")
    resident_before_bytes: int | None = Field(
        default=None, description="Memory of a fresh process before it opened the version."
    )
    resident_bytes: int | None = Field(
        default=None, description="Memory of that process after it answered one batch, libraries included."
    )

    def latency(self, rows: int) -> Latency | None:
        """Of batches of so many rows."""
        return next((latency for latency in self.latencies if latency.rows == rows), None)

    @property
    def rows_per_s(self) -> float:
        """Of batches of `BATCH` rows; 0 where that was not measured."""
        found = self.latency(BATCH)
        return found.rows_per_s if found else 0.0


class PassFinding(Spec):
    """What a recipe had come to after one of its passes, in the runtime that was chosen in the end."""

    after: str = Field(description="The pass.")
    bytes: int = Field(description="Of the coded file, had the recipe ended there.")
    macs: int = Field(description="Multiplications and additions, in pairs, for one row.")
    latency: Latency | None = Field(default=None, description="Of batches, in the chosen runtime.")
    flag: str = Field(
        "", description="What this pass did not bring there, in words; empty if it brought both."
    )


class Calibration(Spec):
    """What decided the ranges of 8-bit activations."""

    rows: int = Field(ge=1, description="Training rows.")
    method: Calibrator


class Accounting(Spec):
    """Bytes of the real file, and of what else could have been done with the same numbers."""

    parts: dict[str, int] = Field(
        description="Bytes of header, each tensor's stream and digests; they add up to all of it."
    )
    original_bytes: int = Field(description="Of the weights file of the version trained at full precision.")
    entropy_bytes: float = Field(
        description="Of the same levels by a coder that knows how often each comes in its tensor, and nothing "
        "else (C. Shannon, A Mathematical Theory of Communication, 1948), without the tables it would need."
    )
    zlib_bytes: int = Field(description="Of the same numbers by zlib -9, a byte for each level.")
    lzma_bytes: int = Field(description="Likewise by lzma -9.")
    parameters: int = Field(description="Numbers in the file.")
    nonzeros: int = Field(description="Of those, how many are not zero.")
    macs: int = Field(
        description="Multiplications and additions, in pairs, for one row; zeros counted as well."
    )
    decode_s: float = Field(
        description="Seconds to decode the file, the best of three times, where it was made."
    )
    runtimes: tuple[RuntimeFinding, ...] = Field(
        (),
        description="Every runtime that was tried: those it may be served with, fastest first, then the others.",
    )
    original_runtimes: tuple[RuntimeFinding, ...] = Field(
        (), description="The version trained at full precision, measured in the same moments."
    )
    passes: tuple[PassFinding, ...] = Field((), description="What each pass of the recipe brought.")
    calibration: Calibration | None = None

    @property
    def total_bytes(self) -> int:
        """Of the whole file."""
        return sum(self.parts.values())

    @property
    def ratio(self) -> float:
        """How many times smaller the file is than the original."""
        return self.original_bytes / self.total_bytes

    def speedup(self, runtime: RuntimeName, *, over: RuntimeName) -> float | None:
        """How many times faster the version is in `runtime` than the original in `over`, by batches of `BATCH` rows.

        None where one of the two was not measured.
        """
        ours, theirs = _rate(self.runtimes, runtime), _rate(self.original_runtimes, over)
        return ours / theirs if ours and theirs else None


def _rate(findings: Sequence[RuntimeFinding], runtime: RuntimeName) -> float:
    return next((finding.rows_per_s for finding in findings if finding.runtime == runtime), 0.0)
