"""TensorBoard event files, as bytes: records of TensorFlow's TFRecord form, each an `Event` message.

A record is its length (uint64), the masked CRC-32C of the length, the message, and the masked CRC-32C of that, all
little-endian. TensorBoard reads the files of a folder in the order of their names, so a run is written in pieces
that never change.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

_VERSION = "brain.Event:2"


@dataclass(frozen=True)
class Scalars:
    """Figures by tag, such as `loss/train`, at one step."""

    step: int
    at: datetime
    values: Mapping[str, float]


@dataclass(frozen=True)
class Picture:
    """A PNG under a tag, at one step."""

    step: int
    at: datetime
    tag: str
    png: bytes


def event_file(entries: list[Scalars | Picture]) -> bytes:
    """An event file of `entries`, in that order. There must be one at least: the first says when the file begins."""
    # They import much, and only a driver of a training needs them.
    from tensorboardX.proto.event_pb2 import Event

    head = Event(wall_time=entries[0].at.timestamp(), file_version=_VERSION)
    messages = [head, *(Event(**_fields(entry)) for entry in entries)]
    return b"".join(_record(message.SerializeToString()) for message in messages)


def event_file_name(run_id: str, *, begins: datetime, number: int) -> str:
    """Names of one run sort by when their files begin, and then by their number."""
    return f"events.out.tfevents.{int(begins.timestamp()):010d}.{run_id}.{number:06d}"


def _fields(entry: Scalars | Picture) -> dict[str, object]:
    from tensorboardX.proto.summary_pb2 import Summary

    match entry:
        case Scalars(values=values):
            found = [Summary.Value(tag=tag, simple_value=value) for tag, value in values.items()]
        case Picture(tag=tag, png=png):
            width, height = struct.unpack(">II", png[16:24])  # of its IHDR, which is always the first chunk
            image = Summary.Image(width=width, height=height, colorspace=3, encoded_image_string=png)
            found = [Summary.Value(tag=tag, image=image)]
    return {
        "wall_time": entry.at.timestamp(),
        "step": entry.step,
        "summary": Summary(value=found),
    }


def _record(message: bytes) -> bytes:
    from tensorboardX.record_writer import masked_crc32c

    length = struct.pack("<Q", len(message))
    return b"".join(
        (length, struct.pack("<I", masked_crc32c(length)), message, struct.pack("<I", masked_crc32c(message)))
    )
