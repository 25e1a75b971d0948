"""Limits: how large, how deep and how many a request may be before anything is made of it."""

from __future__ import annotations

from raymaas.errors import TooLarge

MAX_BODY_BYTES = 16 * 1024 * 1024
MAX_VALUES = 2**21
"""Values of a JSON body; each becomes a Python object, a hundred times the byte or two that it may take."""

_SMALL_BYTES = 2 * MAX_VALUES  # Every value takes two bytes: itself and a comma, or a bracket and its other.


def refuse_large(size_bytes: int) -> None:
    if size_bytes > MAX_BODY_BYTES:
        raise TooLarge(f"the body is larger than {MAX_BODY_BYTES} bytes; send fewer rows per request")


def refuse_many_values(json: bytes) -> None:
    """Refuse JSON of more than `MAX_VALUES` values without parsing it.

    Every value follows a comma, a bracket or a brace. Those inside texts count as well.
    """
    if len(json) > _SMALL_BYTES and json.count(b",") + json.count(b"[") + json.count(b"{") > MAX_VALUES:
        raise TooLarge(
            f"the JSON holds more than {MAX_VALUES} values; send fewer rows per request, or binary tensors"
        )
