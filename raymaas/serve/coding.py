"""Content coding: gzip and deflate, inflated within a bound and applied where the caller wants it.

Source: RFC 9110, section 8.4.1; `deflate` is the zlib format.
"""

from __future__ import annotations

import zlib

from raymaas.errors import InvalidInput, TooLarge

_WINDOW_BITS = {"gzip": 31, "x-gzip": 31, "deflate": 15}
# Where little is won, the processor's time is worth more than the network's.
WORTH_BYTES = 1024
_FAST = 1


def inflate(body: bytes, encoding: str, *, max_bytes: int) -> bytes:
    """`body` decoded, of which no more than `max_bytes` is ever held. Raises InvalidInput and TooLarge."""
    coding = encoding.strip().lower()
    if coding in ("", "identity"):
        return body
    if coding not in _WINDOW_BITS:
        raise InvalidInput(f"Content-Encoding must be gzip, deflate or identity, got {coding[:60]!r}")
    inflating = zlib.decompressobj(_WINDOW_BITS[coding])
    try:
        plain = inflating.decompress(body, max_bytes + 1)
    except zlib.error as error:
        raise InvalidInput(f"the body is not {coding}: {error}") from None
    if len(plain) > max_bytes:
        raise TooLarge(f"the body inflates to more than {max_bytes} bytes; send fewer rows per request")
    if not inflating.eof:
        raise InvalidInput(f"the {coding} body ends too early; send all of it")
    if inflating.unused_data:
        raise InvalidInput(f"{len(inflating.unused_data)} bytes follow the {coding} body; send one stream")
    return plain


def chosen_coding(accept_encoding: str) -> str | None:
    """The coding an Accept-Encoding header likes best of those here; None for none."""
    best, best_weight = None, 0.0
    for item in accept_encoding.lower().split(","):
        name, _, parameters = item.partition(";")
        coding = name.strip()
        if coding in ("gzip", "deflate") and (weight := _weight(parameters)) > best_weight:
            best, best_weight = coding, weight
    return best


def deflated(body: bytes, coding: str) -> bytes:
    squeezing = zlib.compressobj(_FAST, zlib.DEFLATED, _WINDOW_BITS[coding])
    return squeezing.compress(body) + squeezing.flush()


def _weight(parameters: str) -> float:
    name, _, value = parameters.partition("=")
    if name.strip() != "q":
        return 1.0
    try:
        return float(value)
    except ValueError:
        return 0.0
