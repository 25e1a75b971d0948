"""TensorBoard event files: what TensorFlow's record format and TensorBoard's messages ask for, to the byte."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from event_files import masked_crc32c, read_events

from raymaas.report.tensorboard import Picture, Scalars, event_file, event_file_name

AT = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


def test_the_reader_of_these_tests_knows_crc32c():
    # RFC 3720, appendix B.4: 32 bytes of zeros give 8a9136aa; the mask is TensorFlow's.
    crc = 0x8A9136AA
    assert masked_crc32c(bytes(32)) == ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF


def test_a_file_begins_with_its_version_and_holds_the_scalars_of_each_step():
    entries = [
        Scalars(1, AT, {"loss/train": 2.5, "loss/validation": 3.0}),
        Scalars(2, AT + timedelta(seconds=1), {"loss/train": 1.25}),
    ]
    version, first, second = read_events(event_file(entries))
    assert version == {"file_version": "brain.Event:2"}
    assert (first["step"], first["values"]) == (1, {"loss/train": 2.5, "loss/validation": 3.0})
    assert (second["step"], second["values"]) == (2, {"loss/train": 1.25})
    assert second["at"] == pytest.approx(first["at"] + 1) == AT.timestamp() + 1


def test_the_first_record_is_what_tensorflow_writes():
    # Written out by hand from the specification: length 24; Event {1: double, 3: "brain.Event:2"}.
    data = event_file([Scalars(1, datetime.fromtimestamp(1, UTC), {"a": 1.0})])
    message = b"\x09\0\0\0\0\0\0\xf0\x3f" + b"\x1a\x0dbrain.Event:2"
    assert data[:8] == bytes([24]) + bytes(7)
    assert data[8:12] == masked_crc32c(data[:8]).to_bytes(4, "little")
    assert data[12:36] == message
    assert data[36:40] == masked_crc32c(message).to_bytes(4, "little")


def test_a_picture_carries_its_size():
    png = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + (640).to_bytes(4, "big") + (480).to_bytes(4, "big") + b"rest"
    _, event = read_events(event_file([Picture(7, AT, "report/learning", png)]))
    assert (event["step"], event["images"]) == (7, {"report/learning": (640, 480, png)})


def test_names_sort_as_tensorboard_must_read_them():
    names = [
        event_file_name("run-a", begins=AT + timedelta(hours=hours), number=number)
        for hours, number in [(0, 1), (0, 2), (0, 10), (5, 1)]
    ]
    assert names == sorted(names)
    assert all("tfevents" in name for name in names)
