"""The header of a coded file: the architecture and the tensor table, and the limits of what is believed.

In format 1 it is canonical JSON (raymaas.specs.base.canonical_json), raw deflate (RFC 1951) with the preset dictionary
`DICTIONARY`, so that the words of a small network's table cost a few bytes each. For format 2 see
raymaas.bundle.rmz.table.
"""

from __future__ import annotations

import math
import zlib
from typing import Annotated, Literal

from pydantic import Field, ValidationError

from raymaas.bundle.rmz.tensors import RawType
from raymaas.errors import IntegrityError, InvalidInput
from raymaas.specs.base import Spec, canonical_json
from raymaas.specs.jobs import Component

MOST_HEADER_BYTES = 1 << 19
"""Of the header's JSON; at its worst, parsing takes some 60 MiB."""

MOST_TENSORS, MOST_DIMENSIONS, LONGEST_NAME = 2048, 8, 200

DICTIONARY = (
    b'running_mean"running_var"num_batches_tracked","shape":[]}'
    b'{"architecture":{"config":{"channels":[],"classes":10,"dropout":0.0,"hidden":[128],"in_features":64,'
    b'"input_scale":1.0},"use":"mlp"},"tensors":['
    b'{"bytes":,"coder":"none","dtype":"fp32","kind":"raw","name":"head.bias","shape":[10]},'
    b'{"bits":8,"bytes":,"coder":"zlib","kind":"quantized","name":"head.bias","per":"channel","scale":"fp32","shape":[10],"zero_point":true},'
    b'{"bits":8,"bytes":,"coder":"none","kind":"quantized","name":"hidden.0.bias","per":"tensor","scale":"fp16","shape":[128],"zero_point":false},'
    b'{"bits":4,"bytes":,"coder":"range","kind":"quantized","name":"hidden.0.weight","per":"tensor","scale":"fp16","shape":[128,64],"zero_point":false}]}'
)
"""Bytes of format 1 for ever: a change makes every file written before unreadable."""

CoderName = Literal["none", "zlib", "range", "zstd", "range2"]

NEWER_CODERS = ("zstd", "range2")
"""Of format 2, as is the kind `codebook`."""

Dimension = Annotated[int, Field(ge=0, lt=1 << 31)]


class _Entry(Spec):
    name: str = Field(pattern=r"^[A-Za-z0-9_.-]+$", max_length=LONGEST_NAME)
    shape: tuple[Dimension, ...] = Field(max_length=MOST_DIMENSIONS)
    bytes: int = Field(ge=0, description="Length of its stream; streams follow in the order of the table.")

    @property
    def count(self) -> int:
        return math.prod(self.shape)


class RawEntry(_Entry):
    """A tensor kept as it is."""

    kind: Literal["raw"] = "raw"
    dtype: RawType
    coder: Literal["none", "zlib", "zstd"]


class QuantizedEntry(_Entry):
    """A tensor of levels; its stream begins with the scales, then the zero points, if any."""

    kind: Literal["quantized"] = "quantized"
    bits: int = Field(ge=1, le=8)
    per: Literal["tensor", "channel"] = Field(
        description="One scale, or one per index of the first dimension."
    )
    scale: Literal["fp16", "fp32"]
    zero_point: bool
    coder: CoderName


class CodebookEntry(_Entry):
    """A tensor of places in a codebook; its stream begins with the values."""

    kind: Literal["codebook"] = "codebook"
    values: int = Field(ge=1, le=256, description="How many values the codebook has.")
    dtype: Literal["fp16", "fp32"]
    coder: CoderName


AnyEntry = RawEntry | QuantizedEntry | CodebookEntry

Entry = Annotated[AnyEntry, Field(discriminator="kind")]


class Header(Spec):
    """All of a coded file but the numbers."""

    architecture: Component
    tensors: tuple[Entry, ...] = Field(max_length=MOST_TENSORS)

    @property
    def needs_format_2(self) -> bool:
        return any(isinstance(e, CodebookEntry) or e.coder in NEWER_CODERS for e in self.tensors)


def plain_of(header: Header) -> bytes:
    """Its canonical JSON. InvalidInput when a reader would refuse it."""
    try:
        plain = canonical_json(header.model_dump(mode="json"))
    except TypeError as error:
        raise InvalidInput(f"the architecture cannot be written as JSON: {error}") from None
    try:
        parsed = header_in(plain)
    except IntegrityError as error:
        raise InvalidInput(f"this cannot be written as a coded file: {error}") from None
    if parsed != header:
        raise InvalidInput("the architecture holds what JSON does not give back, such as not-a-number")
    return plain


def deflated(plain: bytes, *, dictionary: bytes) -> bytes:
    """Raw deflate, with a preset dictionary."""
    packer = zlib.compressobj(9, zlib.DEFLATED, -15, 9, zlib.Z_DEFAULT_STRATEGY, dictionary)
    return packer.compress(plain) + packer.flush()


def inflated(packed: bytes, *, dictionary: bytes) -> bytes:
    """What `deflated` was given. IntegrityError when `packed` is not that, or more than `MOST_HEADER_BYTES`."""
    unpacker = zlib.decompressobj(-15, dictionary)
    try:
        plain = unpacker.decompress(packed, MOST_HEADER_BYTES + 1)
    except zlib.error as error:
        raise IntegrityError(f"the header cannot be inflated: {error}") from None
    if len(plain) > MOST_HEADER_BYTES:
        raise IntegrityError(f"the header inflates to more than {MOST_HEADER_BYTES} bytes")
    if not unpacker.eof or unpacker.unused_data:
        raise IntegrityError("the header ends early or has bytes after its end")
    return plain


def pack_header(header: Header) -> bytes:
    """The bytes in a file of format 1. InvalidInput when the reader would refuse them."""
    return deflated(plain_of(header), dictionary=DICTIONARY)


def unpack_header(packed: bytes) -> Header:
    """The header in `packed`, of format 1. IntegrityError when it is not one."""
    header = header_in(inflated(packed, dictionary=DICTIONARY))
    if header.needs_format_2:
        raise IntegrityError("the header of a file of format 1 names a kind or a coder of format 2")
    return header


def check_elements(header: Header, *, max_elements: int) -> None:
    """InvalidInput when the tensors of `header` hold more numbers than that."""
    # An empty dimension must not hide a huge one: numpy refuses such shapes with errors of its own.
    elements = sum(math.prod(max(size, 1) for size in entry.shape) for entry in header.tensors)
    if elements > max_elements:
        raise InvalidInput(
            f"the file claims {elements} numbers where at most {max_elements} are allowed; "
            "raise max_elements if you trust it"
        )


def header_in(plain: bytes) -> Header:
    """The header of that canonical JSON. IntegrityError when it is not one."""
    if len(plain) > MOST_HEADER_BYTES:
        raise IntegrityError(f"the header has more than {MOST_HEADER_BYTES} bytes")
    try:
        header = Header.model_validate_json(plain)
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        place = ".".join(str(part) for part in first["loc"])[:200] or "header"
        raise IntegrityError(f"the header is malformed at {place}: {first['msg'][:200]}") from None
    # One encoding only: this refuses doubled keys, coerced types, spaces and not-a-number in one comparison.
    if canonical_json(header.model_dump(mode="json")) != plain:
        raise IntegrityError("the header is not canonical JSON")
    names = [entry.name for entry in header.tensors]
    if len(set(names)) < len(names):
        raise IntegrityError("two tensors of the header have the same name")
    if any(isinstance(e, QuantizedEntry) and e.per == "channel" and not e.shape for e in header.tensors):
        raise IntegrityError("a tensor without dimensions cannot have a scale per channel")
    return header
