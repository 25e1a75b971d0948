"""The header of format 2: the same architecture and tensor table as text, which a text model writes in few bytes.

The first line is the architecture as canonical JSON, {"config":{...},"use":"..."}. Then, for each tensor, a line of
four fields with one space between them; every line ends with a new line:

    name
    shape    sizes with commas between; `-` for a tensor without dimensions
    form     coder: n none, z zlib, r range, s zstd, R range2; then what is coded,
             raw        its dtype
             quantized  bits; then c for a scale per channel, f for scales in fp32, z for zero points
             codebook   k and how many values; then f for values in fp32
    bytes    of its stream

In the file it is as raymaas.bundle.rmz.text codes it; or, when longer than `text.LONGEST`, in raw deflate (RFC 1951)
with `text.PRIOR` as the preset dictionary.
"""

from __future__ import annotations

import re
from typing import Any

import orjson

from raymaas.bundle.rmz import text
from raymaas.bundle.rmz.header import (
    MOST_TENSORS,
    AnyEntry,
    CodebookEntry,
    CoderName,
    Header,
    QuantizedEntry,
    deflated,
    header_in,
    inflated,
    plain_of,
)
from raymaas.errors import IntegrityError
from raymaas.specs.base import canonical_json

_LETTER_OF: dict[CoderName, str] = {"none": "n", "zlib": "z", "range": "r", "zstd": "s", "range2": "R"}
_CODER_OF = {letter: coder for coder, letter in _LETTER_OF.items()}
_SIZE = r"(?:0|[1-9]\d{0,18})"
_LINE = re.compile(
    rf"(?P<name>[^ ]+) (?P<shape>-|{_SIZE}(?:,{_SIZE})*) (?P<coder>[nzrsR])"
    rf"(?:(?P<dtype>fp\d+|u?int\d+)|(?P<bits>\d)(?P<channel>c?)(?P<wide>f?)(?P<zero>z?)|k(?P<values>{_SIZE})(?P<full>f?))"
    rf" (?P<bytes>{_SIZE})"
)


def pack_table(header: Header) -> tuple[bytes, bool]:
    """The bytes in a file of format 2, and whether they are deflated. InvalidInput when a reader would refuse them."""
    plain_of(header)
    lines = [canonical_json(header.architecture.model_dump(mode="json")).decode()]
    lines.extend(map(_line, header.tensors))
    plain = "".join(line + "\n" for line in lines).encode()
    if len(plain) > text.LONGEST:
        return deflated(plain, dictionary=text.PRIOR), True
    return text.encode(plain), False


def unpack_table(packed: bytes, *, is_deflated: bool) -> Header:
    """The header in `packed`, of format 2. IntegrityError when it is not one."""
    plain = inflated(packed, dictionary=text.PRIOR) if is_deflated else text.decode(packed)
    if is_deflated == (len(plain) <= text.LONGEST):
        raise IntegrityError("the header is not coded as one of its length is")
    first, *lines, last = plain.split(b"\n") if b"\n" in plain else (b"", b"no line")
    if last or len(lines) > MOST_TENSORS:
        raise IntegrityError(f"the header does not end with a line, or has more than {MOST_TENSORS} tensors")
    try:
        table = {"architecture": orjson.loads(first), "tensors": [_fields(line) for line in lines]}
        # One encoding only, as in format 1: this refuses doubled keys, spaces and the like.
        header = header_in(canonical_json(table))
        if canonical_json(table["architecture"]) != first:
            raise IntegrityError("the architecture in the header is not canonical JSON")
    except (ValueError, TypeError) as error:
        raise IntegrityError(f"the header is malformed: {str(error)[:200]}") from None
    return header


def _line(entry: AnyEntry) -> str:
    match entry:
        case QuantizedEntry():
            form = str(entry.bits)
            form += "c" * (entry.per == "channel") + "f" * (entry.scale == "fp32") + "z" * entry.zero_point
        case CodebookEntry():
            form = f"k{entry.values}" + "f" * (entry.dtype == "fp32")
        case _:
            form = entry.dtype
    shape = ",".join(map(str, entry.shape)) or "-"
    return f"{entry.name} {shape} {_LETTER_OF[entry.coder]}{form} {entry.bytes}"


def _fields(line: bytes) -> dict[str, Any]:
    """What an entry is made of; `header_in` says whether it makes sense."""
    match = _LINE.fullmatch(line.decode("ascii"))
    if match is None:
        raise IntegrityError("a line of the header's table does not have its form")
    shape = [] if match["shape"] == "-" else [int(size) for size in match["shape"].split(",")]
    known: dict[str, Any] = {"name": match["name"], "shape": shape, "bytes": int(match["bytes"])}
    known["coder"] = _CODER_OF[match["coder"]]
    if match["dtype"]:
        return known | {"kind": "raw", "dtype": match["dtype"]}
    if match["values"]:
        dtype = "fp32" if match["full"] else "fp16"
        return known | {"kind": "codebook", "values": int(match["values"]), "dtype": dtype}
    return known | {
        "kind": "quantized",
        "bits": int(match["bits"]),
        "per": "channel" if match["channel"] else "tensor",
        "scale": "fp32" if match["wide"] else "fp16",
        "zero_point": bool(match["zero"]),
    }
