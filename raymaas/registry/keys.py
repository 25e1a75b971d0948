"""Keys: one log of the ring of API keys, of which only digests are kept; each revision has one writer."""

from __future__ import annotations

import secrets
from base64 import urlsafe_b64encode
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from raymaas.errors import AlreadyExists, InvalidInput, NotFound, Refused
from raymaas.registry.layout import KEYS, ring_key
from raymaas.registry.log import Log
from raymaas.registry.once import new_write_id
from raymaas.specs.base import sha256_hex
from raymaas.specs.keys import (
    KEY_PREFIX,
    ApiKey,
    Grant,
    KeyChange,
    KeyRing,
    key_text,
    known_as,
    without_secret,
)
from raymaas.store import Store

LIVE_PER_NAME = 2
_ATTEMPTS = 5
_ID_BYTES = 4
_SECRET_BYTES = 32


@dataclass(frozen=True)
class NewKey:
    """A key that was just made. `text` is nowhere else, and not shown by `repr`."""

    text: str
    ring: KeyRing

    def __repr__(self) -> str:
        return f"NewKey({self.kept!r})"

    @property
    def kept(self) -> ApiKey:
        return self.ring.keys[-1]


Step = Callable[[tuple[ApiKey, ...], datetime], tuple[tuple[ApiKey, ...], KeyChange]]
"""What the keys become, and which change that is, decided on those there are."""


class Keys:
    """The API keys in a store. `random_bytes(n)` gives n bytes that nobody can guess."""

    def __init__(self, store: Store, *, random_bytes: Callable[[int], bytes] = secrets.token_bytes) -> None:
        self._store = store
        self._random_bytes = random_bytes
        self._log = Log(store, KEYS, KeyRing, lambda ring: ring_key(ring.revision))
        self._read: KeyRing | None = None

    def ring(self) -> KeyRing | None:
        """The ring in force; None while there never was a key. One look into the store while it stays the same."""
        revision = self._log.newest_sequence()
        read = self._read
        if read is None or read.revision != revision:
            # Revisions never change, so what was read once is what is there.
            self._read = read = self._log.find(revision) if revision else None
        return read

    def create(self, grant: Grant, *, who: str, why: str = "") -> NewKey:
        """A new key for `grant`. Two live keys may have one name, so that callers can change over.

        Raises InvalidInput when it is the first key and no admin's, AlreadyExists when the name has two live keys, and
        OutcomeUnknown when it may have been kept: then list the keys, revoke it, and create another.
        """
        key_id = self._random_bytes(_ID_BYTES).hex()
        text = key_text(key_id, urlsafe_b64encode(self._random_bytes(_SECRET_BYTES)).rstrip(b"=").decode())

        def created(keys: tuple[ApiKey, ...], at: datetime) -> tuple[tuple[ApiKey, ...], KeyChange]:
            if not keys and "admin" not in grant.scopes:
                raise InvalidInput(
                    f"the first key must be an admin's, and {grant.name!r} would not be: from then on nobody changes"
                    " anything without one. Create one with scope admin before"
                )
            alike = [f"{KEY_PREFIX}{key.key_id}" for key in known_as(keys, grant.name) if key.live]
            if len(alike) >= LIVE_PER_NAME:
                raise AlreadyExists(
                    f"{grant.name!r} has {len(alike)} live keys already, {' and '.join(alike)}; revoke one first"
                )
            kept = {
                "key_id": key_id,
                "sha256": sha256_hex(text.encode()),
                "created_at": at,
                "created_by": who,
            }
            key = ApiKey.parse(grant.model_dump() | kept, source="key")
            return (*keys, key), KeyChange(action="create", key_id=key_id, who=who, why=why, at=at)

        return NewKey(text, self._next(created))

    def revoke(self, which: str, *, who: str, why: str = "") -> ApiKey:
        """Let nobody in with the key of that name, or of that id, `rmk_` and eight digits, any more.

        One that is revoked already stays so. Raises NotFound, InvalidInput when two live keys have the name, and
        Refused for the last live key of an admin.
        """
        ring = self.ring()
        found = _one(ring.keys if ring else (), which)
        if not found.live:
            return found

        def revoked(keys: tuple[ApiKey, ...], at: datetime) -> tuple[tuple[ApiKey, ...], KeyChange]:
            others = [key for key in keys if key.live and key.key_id != found.key_id]
            if not any("admin" in key.scopes for key in others):
                raise Refused(
                    f"{KEY_PREFIX}{found.key_id} of {found.name!r} is the last key with scope admin, and without one"
                    " nobody could change anything; create another first"
                )
            gone = found.model_copy(update={"revoked_at": at, "revoked_by": who})
            left = tuple(gone if key.live and key.key_id == gone.key_id else key for key in keys)
            return left, KeyChange(action="revoke", key_id=gone.key_id, who=who, why=why, at=at)

        return _one(self._next(revoked).keys, f"{KEY_PREFIX}{found.key_id}")

    def _next(self, step: Step) -> KeyRing:
        """Append what `step` makes of the keys. Two changes do not contradict each other: who lost tries again."""
        for _ in range(_ATTEMPTS):
            now, at = self.ring(), self._store.now()
            keys, change = step(now.keys if now else (), at)
            ring = KeyRing.parse(
                {
                    "revision": now.revision + 1 if now else 1,
                    "write_id": new_write_id(),
                    "keys": keys,
                    "change": change,
                },
                source="keys",
            )
            try:
                self._log.append(ring)
            except AlreadyExists:
                continue
            return ring
        raise AlreadyExists("others are changing keys at this moment, and nothing was changed; repeat yours")


def _one(keys: tuple[ApiKey, ...], which: str) -> ApiKey:
    """The key that `which` names, a live one before revoked ones."""
    found = known_as(keys, which)
    live = [key for key in found if key.live]
    if len(live) > 1:
        ids = " and ".join(f"{KEY_PREFIX}{key.key_id}" for key in live)
        raise InvalidInput(f"{which!r} has {len(live)} live keys, {ids}; say which")
    if not found:
        raise NotFound(
            f"there is no key of the name or id {without_secret(which)!r}; `raymaas keys list` shows those there are"
        )
    return (live or found)[-1]
