"""Masking: what is left of a field once a sampling rule has hidden what must not be kept.

Hashes are HMAC-SHA256 (RFC 2104) under the model's own key, of the field's name and the value.
"""

from __future__ import annotations

import hashlib
import hmac
import math
from dataclasses import dataclass

import numpy as np

from raymaas.specs.sampling import LABEL, REQUEST_ID, SamplingRevision, SamplingRule

_HEX_DIGITS = 32  # 128 bits: two values of a model do not meet by chance.


@dataclass(frozen=True)
class Masker:
    """Hides what `rule` says, with the key `salt`."""

    rule: SamplingRule
    salt: bytes

    @classmethod
    def of_revision(cls, revision: SamplingRevision) -> Masker | None:
        """None where nothing is kept."""
        return cls(revision.rule, bytes.fromhex(revision.salt)) if revision.rule else None

    def values(self, field: str, values_N: np.ndarray) -> np.ndarray | None:
        """What may be kept of a field's values, [N, ...] or texts [N]; None: nothing.

        A hash stands for the whole row of a tensor. What cannot be rounded is not kept.
        """
        masking = self.rule.masking(field)
        if masking is None:
            return values_N
        if masking.how == "drop" or (masking.how == "round" and values_N.dtype.kind not in "iuf"):
            return None
        if masking.how == "round":
            return np.round(values_N, masking.digits)
        hashes = np.empty(len(values_N), dtype=object)
        hashes[:] = [self._hash(field, _bytes(row)) for row in values_N]
        return hashes

    def request_id(self, request_id: str) -> str:
        hidden = self.rule.masking(REQUEST_ID) is not None
        return self._hash(REQUEST_ID, request_id.encode()) if hidden else request_id

    def label(self, label: str | None) -> str | None:
        """A label that is no number cannot be rounded, and is not kept."""
        masking = self.rule.masking(LABEL)
        if label is None or masking is None:
            return label
        if masking.how == "hash":
            return self._hash(LABEL, label.encode())
        if masking.how == "drop":
            return None
        try:
            number = float(label)
        except ValueError:
            return None
        return str(round(number, masking.digits)) if math.isfinite(number) else None

    def _hash(self, field: str, value: bytes) -> str:
        message = field.encode() + b"\0" + value
        return hmac.new(self.salt, message, hashlib.sha256).hexdigest()[:_HEX_DIGITS]


def _bytes(value: object) -> bytes:
    """Numbers of a row as they lie in memory, texts of one as a list, and a single value as its text."""
    if isinstance(value, np.ndarray):
        return repr(value.tolist()).encode() if value.dtype.kind in "OU" else value.tobytes()
    return str(value.item() if isinstance(value, np.generic) else value).encode()
