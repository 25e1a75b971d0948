"""Entropy coding: which coder the file of a compressed network is written with."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field

from raymaas.bundle.rmz.header import CoderName
from raymaas.compress.subject import Subject
from raymaas.specs.base import Spec

Choice = Literal["smallest", "range", "zstd", "zlib", "none"]

_CODERS: dict[Choice, CoderName | None] = {
    "smallest": None,
    "range": "range2",
    "zstd": "zstd",
    "zlib": "zlib",
    "none": "none",
}


class EntropyConfig(Spec):
    """Which."""

    coder: Choice = Field(
        "smallest",
        description="The one that gives fewest bytes, tensor by tensor; the context-adaptive range coder, for what "
        "is quantized; zstd; zlib; or levels packed at their own width.",
    )


class Entropy:
    """Moves no weight. Afterwards the subject names a coder, or none for the smallest."""

    Config: ClassVar[type[EntropyConfig]] = EntropyConfig

    def __init__(self, config: EntropyConfig) -> None:
        self._config = config

    def apply(self, subject: Subject) -> None:
        subject.coder = _CODERS[self._config.coder]
