"""Amounts as people type them: spans of time such as 60s or 7d, and shares such as 0.5%."""

from __future__ import annotations

import re
from datetime import timedelta

from raymaas.errors import InvalidInput

_UNITS = {
    "s": timedelta(seconds=1),
    "m": timedelta(minutes=1),
    "h": timedelta(hours=1),
    "d": timedelta(days=1),
}


def is_span(text: str) -> bool:
    """Whether `text` looks like a span of time."""
    return re.fullmatch(r"[0-9]{1,6}[smhd]", text) is not None


def span_of(text: str, *, option: str) -> timedelta:
    """The time in 60s, 90m, 24h or 7d. Raises InvalidInput naming the option."""
    if not is_span(text):
        raise InvalidInput(f"{option} is a time such as 60s, 5m or 1h, got {text!r}")
    return int(text[:-1]) * _UNITS[text[-1]]


def share_of(text: str, *, option: str) -> float:
    """The share in 0.5% or 0.005, from 0 to 1. Raises InvalidInput naming the option."""
    number, percent = text.removesuffix("%"), text.endswith("%")
    try:
        share = float(number) / (100 if percent else 1)
    except ValueError:
        share = -1.0
    if not 0 <= share <= 1:
        raise InvalidInput(f"{option} is a share such as 0.5% or 0.005, got {text!r}")
    return share
