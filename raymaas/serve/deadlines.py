"""Deadlines: how long a caller says that it will wait.

By the header `x-raymaas-timeout-ms`, a decimal number of milliseconds, or by the request parameter `timeout`, a whole
number of microseconds of which 0 means none, as in Triton's schedule-policy extension. Of both the shorter one holds.
"""

from __future__ import annotations

import math
from typing import Any

from raymaas.errors import InvalidInput

TIMEOUT_HEADER = b"x-raymaas-timeout-ms"


def timeout_of_header(value: bytes | None) -> float | None:
    """Seconds; None without the header. Raises InvalidInput for what is no number above 0."""
    if value is None:
        return None
    try:
        milliseconds = float(value)
    except ValueError:
        milliseconds = math.nan
    if not 0 < milliseconds < math.inf:
        text = value.decode("latin-1")[:40]
        raise InvalidInput(
            f"x-raymaas-timeout-ms is {text!r}; it must be a number of milliseconds above 0, such as 250"
        )
    return milliseconds / 1e3


def timeout_of_parameter(microseconds: Any) -> float | None:
    """Seconds; None where the parameter is absent or 0. Raises InvalidInput for what is no whole number from 0."""
    if microseconds is None:
        return None
    if type(microseconds) is not int or microseconds < 0:
        raise InvalidInput(
            'parameter "timeout" must be a whole number of microseconds, such as 250000; 0 means none'
        )
    return microseconds / 1e6 if microseconds else None


def sooner(*timeouts_s: float | None) -> float | None:
    """The least of those there are; None when there is none."""
    return min((timeout_s for timeout_s in timeouts_s if timeout_s is not None), default=None)
