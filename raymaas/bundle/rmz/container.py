"""The coded weights file `.rmz`, formats 1 and 2: writing it, reading it, and saying where its bytes go.

All integers are little-endian. One file:

    offset     bytes  what
    0          3      "RMZ"
    3          1      format, 1 or 2
    4          4      format 1: H, length of the header
               1..5   format 2: 2 H + (the header is deflated), 7 bits in each byte from the lowest on, and 128 added
                      to every byte but the last
               H      header: architecture and tensor table. Format 1: see raymaas.bundle.rmz.header; 2: .table
               sum    one stream per tensor, in the order of the table, without gaps
    -32        16     content digest: SHA-256, cut to 16 bytes, of all decoded numbers in the order of the table
    -16        16     file digest: SHA-256, cut to 16 bytes, of everything before it

The header, written as canonical JSON, is {"architecture": {"config": {...}, "use": "..."}, "tensors": [...]} with
one object per tensor: `name`, `shape`, `bytes` of its stream, `kind`, `coder`, and

    kind "raw"        `dtype`. Stream: the numbers, row-major.
    kind "quantized"  `bits` 1..8, `per` "tensor" | "channel", `scale` "fp16" | "fp32", `zero_point` true | false.
                      Stream: scales (1, or shape[0] of them), zero points (int8, as many, if any), the levels.
    kind "codebook"   `values` 1..256, `dtype` "fp16" | "fp32". Stream: the values, strictly ascending, then the
                      places among them, uint8. Their width is that of values - 1, at least 1 bit. Format 2.

    coder "none"      raw numbers as they are; levels, or places less 2^(width - 1), packed: raymaas.bundle.rmz.bits
    coder "zlib"      raw deflate (RFC 1951) of the raw numbers, or of the levels as int8, or of the places
    coder "zstd"      of the same bytes, frames (RFC 8878) without the first four bytes, 28 B5 2F FD. Format 2.
    coder "range"     level minus zero point, or place minus that of the value nearest to 0 (of two, the lower), see
                      raymaas.bundle.rmz.levels and .rangecoder
    coder "range2"    of the same numbers, see raymaas.bundle.rmz.neighbours. Format 2.

    weight = float32(level - zero point) * float32(scale), rounded once; or the value at its place as float32.

A file that needs nothing of format 2 is written in format 1, unless coders were left to choose and format 2 is smaller,
as its header is. Magic, format and file digest keep their places in every
later format, so that damage is never mistaken for a newer format. The file digest finds damage before anything is
parsed. The content digest finds a decoder that differs from the one that wrote: a wrong coder would otherwise give
wrong weights without a sound. Neither stops a forger, who can compute both; that is the manifest's part, which holds
the whole SHA-256 of the file. Against accident 16 bytes are plenty (2^-128), and 32 more would be half a percent of
a small network.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from raymaas.bundle.rmz import streams
from raymaas.bundle.rmz.header import CoderName, Header, check_elements, pack_header, unpack_header
from raymaas.bundle.rmz.table import pack_table, unpack_table
from raymaas.bundle.rmz.tensors import Coded
from raymaas.errors import IntegrityError, InvalidInput
from raymaas.specs.jobs import Component

MAGIC, FORMATS = b"RMZ", (1, 2)

MOST_ELEMENTS = 1 << 26
"""Numbers a reader accepts unless told otherwise: at most some 1.1 GiB.

The range coder takes about 1 µs for a sparse level and 20 µs for the most hostile one, so whoever reads what
strangers send sets less.
"""

_DIGEST = 16


@dataclass(frozen=True, eq=False)
class RmzFile:
    """What a coded file holds."""

    architecture: Component
    tensors: Mapping[str, Coded]

    def dense(self) -> dict[str, np.ndarray]:
        """Every tensor as numbers by name: grids and fp16 as float32, the same bits on every machine."""
        return {name: coded.dense() for name, coded in self.tensors.items()}


def write(
    architecture: Component,
    tensors: Mapping[str, Coded],
    *,
    coders: Mapping[str, CoderName] | None = None,
) -> bytes:
    """The coded file of `tensors`, kept in their order.

    Each is coded with the smallest coder, or the one `coders` names for it. The file has been read back and
    its content compared. The same input gives the same bytes wherever zlib and zstd are the same. Raises InvalidInput
    for a name, a shape or an architecture that `read` would refuse.
    """
    coders = coders or {}
    if unknown := sorted(coders.keys() - tensors.keys()):
        raise InvalidInput(f"a coder is given for {unknown[0]!r}, which is not among the tensors")
    coded = [streams.encode(name, tensor, coder=coders.get(name)) for name, tensor in tensors.items()]
    table = {"architecture": architecture, "tensors": tuple(entry for entry, _ in coded)}
    header = Header.parse(table, source="coded file")
    head = _head_2(header) if header.needs_format_2 else _head_1(header)
    if not header.needs_format_2 and coders.keys() != tensors.keys():
        head = min(head, _head_2(header), key=len)
    body = b"".join((MAGIC, head, *(stream for _, stream in coded)))
    body += _content_digest(tensors.values())
    data = body + _digest(body)
    read(data, max_elements=1 << 62)  # what the caller holds already is no matter of trust
    return data


def read(data: bytes, *, max_elements: int = MOST_ELEMENTS) -> RmzFile:
    """What `data` holds, exactly as `write` was given it.

    Needs memory in proportion to what the tensors hold, at most 16 bytes for each of `max_elements` numbers,
    and allocates nothing by what a damaged file claims. Raises IntegrityError when `data` is not one whole
    coded file, InvalidInput when a newer raymaas wrote it or it holds more than `max_elements` numbers.
    """
    header, start = _open(data, max_elements=max_elements)
    tensors: dict[str, Coded] = {}
    for entry in header.tensors:
        end = start + entry.bytes
        try:
            tensors[entry.name] = streams.decode(entry, data[start:end])
        except IntegrityError as error:
            raise IntegrityError(f"tensor {entry.name!r} of the coded file is malformed: {error}") from None
        start = end
    if _content_digest(tensors.values()) != data[-2 * _DIGEST : -_DIGEST]:
        raise IntegrityError("the decoded weights are not the ones that were written; write the file again")
    return RmzFile(architecture=header.architecture, tensors=tensors)


def breakdown(data: bytes) -> dict[str, int]:
    """Bytes of each part of a coded file, in its order and summing up to its length.

    Parts are `header` (with magic, format and length), `tensors.<name>` for each stream, and `digests`.
    Nothing is decoded. Raises as `read` does for a damaged file or header.
    """
    header, start = _open(data, max_elements=1 << 62)
    parts = {f"tensors.{entry.name}": entry.bytes for entry in header.tensors}
    return {"header": start, **parts, "digests": 2 * _DIGEST}


def _open(data: bytes, *, max_elements: int) -> tuple[Header, int]:
    """The header, and where the first stream begins; the streams have the lengths the table states."""
    if len(data) < len(MAGIC) + 2 + 2 * _DIGEST or data[: len(MAGIC)] != MAGIC:
        raise IntegrityError("this is not a coded weights file: it does not begin as one, or ends too early")
    if _digest(data[:-_DIGEST]) != data[-_DIGEST:]:
        raise IntegrityError("the coded weights file is damaged: its digest differs; fetch or write it again")
    if data[len(MAGIC)] not in FORMATS:
        raise InvalidInput(
            f"the coded weights file has format {data[len(MAGIC)]}; this raymaas reads {FORMATS[0]} to "
            f"{FORMATS[-1]}. Upgrade raymaas"
        )
    streams_end = len(data) - 2 * _DIGEST
    header, start = _header_in(data, end=streams_end)
    check_elements(header, max_elements=max_elements)
    if start + sum(entry.bytes for entry in header.tensors) != streams_end:
        raise IntegrityError("the streams of the coded file do not have the lengths its header states")
    return header, start


def _head_1(header: Header) -> bytes:
    """Format, length of the header, and the header. InvalidInput when a reader would refuse it."""
    packed = pack_header(header)
    return bytes([1]) + len(packed).to_bytes(4, "little") + packed


def _head_2(header: Header) -> bytes:
    """The same in format 2."""
    packed, is_deflated = pack_table(header)
    return bytes([2]) + _as_groups(2 * len(packed) + is_deflated) + packed


def _header_in(data: bytes, *, end: int) -> tuple[Header, int]:
    """The header of a file, and where it ends, which is at `end` or before."""
    begin = len(MAGIC) + 1
    if data[len(MAGIC)] == 1:
        length, begin, is_deflated = int.from_bytes(data[begin : begin + 4], "little"), begin + 4, True
    else:
        number, begin = _groups_at(data, begin)
        length, is_deflated = number >> 1, bool(number & 1)
    if begin + length > end:
        raise IntegrityError("the header of the coded file is longer than the file")
    packed = data[begin : begin + length]
    header = unpack_header(packed) if data[len(MAGIC)] == 1 else unpack_table(packed, is_deflated=is_deflated)
    return header, begin + length


def _as_groups(number: int) -> bytes:
    groups = bytearray()
    while number >= 128:
        groups.append(number & 127 | 128)
        number >>= 7
    return bytes([*groups, number])


def _groups_at(data: bytes, place: int) -> tuple[int, int]:
    """The number of at most 5 groups of 7 bits, and where it ends."""
    groups = data[place : place + 5]
    length = next((at + 1 for at, group in enumerate(groups) if group < 128), 0)
    if not length or (length > 1 and not groups[length - 1]):
        raise IntegrityError("the coded file does not state the length of its header as one does")
    return sum((group & 127) << 7 * at for at, group in enumerate(groups[:length])), place + length


def _digest(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()[:_DIGEST]


def _content_digest(tensors: Iterable[Coded]) -> bytes:
    digest = hashlib.sha256()
    for coded in tensors:
        digest.update(streams.numbers(coded).data)
    return digest.digest()[:_DIGEST]
