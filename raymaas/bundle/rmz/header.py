"""The header of a coded file: the architecture and the tensor table, and the limits of what is believed.

It is canonical JSON (raymaas.specs.base.canonical_json), raw deflate (RFC 1951) with the preset dictionary
`DICTIONARY`, so that the words of a small network's table cost a few bytes each.
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

CoderName = Literal["none", "zlib", "range"]

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
    coder: Literal["none", "zlib"]


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


Entry = Annotated[RawEntry | QuantizedEntry, Field(discriminator="kind")]


class Header(Spec):
    """All of a coded file but the numbers."""

    architecture: Component
    tensors: tuple[Entry, ...] = Field(max_length=MOST_TENSORS)


def pack_header(header: Header) -> bytes:
    """The bytes in the file. InvalidInput when the reader would refuse them."""
    try:
        plain = canonical_json(header.model_dump(mode="json"))
    except TypeError as error:
        raise InvalidInput(f"the architecture cannot be written as JSON: {error}") from None
    try:
        parsed = _parse(plain)
    except IntegrityError as error:
        raise InvalidInput(f"this cannot be written as a coded file: {error}") from None
    if parsed != header:
        raise InvalidInput("the architecture holds what JSON does not give back, such as not-a-number")
    packer = zlib.compressobj(9, zlib.DEFLATED, -15, 9, zlib.Z_DEFAULT_STRATEGY, DICTIONARY)
    return packer.compress(plain) + packer.flush()


def unpack_header(packed: bytes, *, max_elements: int) -> Header:
    """The header in `packed`, with nothing allocated by what it claims.

    Raises IntegrityError when it is not one, InvalidInput when its tensors hold more than `max_elements`.
    """
    unpacker = zlib.decompressobj(-15, DICTIONARY)
    try:
        plain = unpacker.decompress(packed, MOST_HEADER_BYTES + 1)
    except zlib.error as error:
        raise IntegrityError(f"the header cannot be inflated: {error}") from None
    if len(plain) > MOST_HEADER_BYTES:
        raise IntegrityError(f"the header inflates to more than {MOST_HEADER_BYTES} bytes")
    if not unpacker.eof or unpacker.unused_data:
        raise IntegrityError("the header ends early or has bytes after its end")
    header = _parse(plain)
    # An empty dimension must not hide a huge one: numpy refuses such shapes with errors of its own.
    elements = sum(math.prod(max(size, 1) for size in entry.shape) for entry in header.tensors)
    if elements > max_elements:
        raise InvalidInput(
            f"the file claims {elements} numbers where at most {max_elements} are allowed; "
            "raise max_elements if you trust it"
        )
    return header


def _parse(plain: bytes) -> Header:
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
