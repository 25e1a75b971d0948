"""Taking gzip off a file, if there is any around it."""

from __future__ import annotations

import gzip
import io
import zlib

from raymaas.errors import InvalidInput


def unpacked(data: bytes, *, source: str, at_most_bytes: int = -1) -> bytes:
    """`data` without the gzip around it, or as it is. Raises InvalidInput naming `source` when it is damaged.

    Nothing is inflated beyond `at_most_bytes`; -1 is no limit.
    """
    if not data.startswith(b"\x1f\x8b"):
        return data
    try:
        with gzip.GzipFile(fileobj=io.BytesIO(data)) as file:
            return file.read(at_most_bytes)
    except (EOFError, OSError, zlib.error) as error:
        raise InvalidInput(f"{source} is damaged gzip ({error}); fetch it again") from None
