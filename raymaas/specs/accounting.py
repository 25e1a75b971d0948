"""Accounting: what a coded weights file takes, part by part, and what it is to be compared with."""

from __future__ import annotations

from pydantic import Field

from raymaas.specs.base import Spec


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

    @property
    def total_bytes(self) -> int:
        """Of the whole file."""
        return sum(self.parts.values())

    @property
    def ratio(self) -> float:
        """How many times smaller the file is than the original."""
        return self.original_bytes / self.total_bytes
