"""Leases: who may do a thing that one at a time should do, and until when; one create-only log for each thing.

Of those who want a lease, one appends the next entry of its log and holds it; it ends when it is released or
when the store's clock passes `expires_at`, and only then may another append. So a holder that crashed delays
the others and stops nobody. Entries are never taken away: they say who did it, and when.

A holder that sleeps past its time does not notice until it looks. So a lease keeps two from doing the same work,
and what they do must be harmless all the same when it is done twice.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime, timedelta

from pydantic import Field

from raymaas.errors import AlreadyExists, InvalidInput, RaymaasError, Refused
from raymaas.registry.layout import lease_folder, lease_key
from raymaas.registry.log import Log
from raymaas.registry.once import new_write_id
from raymaas.specs.base import Document, Moment, OneLine
from raymaas.specs.names import Name
from raymaas.store import Store


class LeaseEntry(Document):
    """That `holder` has the lease from `acquired_at` until `expires_at`; or, released, that it gave it back."""

    kind = "lease"

    what: Name
    sequence: int = Field(ge=1)
    write_id: str
    lease_id: str = Field(description="Random; the same in all entries of one holding, renewals included.")
    holder: OneLine = Field(description="For people: who and where.")
    acquired_at: Moment
    expires_at: Moment
    released: bool = False


class Leases:
    """The leases in a store."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def newest(self, what: str) -> LeaseEntry | None:
        """The last that was written about this lease; None when nobody ever had it."""
        return self._log(what).newest()

    def acquire(self, what: str, *, holder: str, for_s: float) -> Lease:
        """The lease on `what` for `for_s` seconds. Raises Refused, naming the holder and until when, while it is held.

        Also raises Unavailable, or OutcomeUnknown: then it may be held in this name until it expires.
        """
        if for_s <= 0:
            raise InvalidInput(f"a lease lasts longer than 0 s, got {for_s:g}")
        log = self._log(what)
        while True:
            newest, now = log.newest(), self._store.now()
            if newest is not None and not newest.released and now < newest.expires_at:
                raise Refused(
                    f"{what!r} is under way: {newest.holder} has the lease until {_clock(newest.expires_at)};"
                    " wait for it to end"
                )
            entry = LeaseEntry(
                what=what,
                sequence=newest.sequence + 1 if newest else 1,
                write_id=new_write_id(),
                lease_id=secrets.token_hex(8),
                holder=holder,
                acquired_at=now,
                expires_at=now + timedelta(seconds=for_s),
            )
            try:
                log.append(entry)
            except AlreadyExists:
                continue  # Another was first; what that entry says decides.
            return Lease(self._store, log, entry, for_s=for_s)

    @contextmanager
    def held(self, what: str, *, holder: str, for_s: float) -> Iterator[Lease]:
        """The lease while the block runs, released at its end however that comes. Raises as `acquire`."""
        lease = self.acquire(what, holder=holder, for_s=for_s)
        try:
            yield lease
        finally:
            with suppress(RaymaasError):  # It ends by itself, and what went wrong inside is what counts.
                lease.release()

    def _log(self, what: str) -> Log[LeaseEntry]:
        return Log(self._store, lease_folder(what), LeaseEntry, lambda e: lease_key(e.what, e.sequence))


class Lease:
    """A lease that was acquired, in the hands of its holder; for one thread."""

    def __init__(self, store: Store, log: Log[LeaseEntry], entry: LeaseEntry, *, for_s: float) -> None:
        self._store = store
        self._log = log
        self._entry = entry
        self._for = timedelta(seconds=for_s)

    @property
    def expires_at(self) -> datetime:
        return self._entry.expires_at

    def keep(self) -> None:
        """Afterwards at least half of its time is left. Raises as `renew`."""
        if self.expires_at - self._store.now() < self._for / 2:
            self.renew()

    def renew(self) -> None:
        """Afterwards its whole time is left. Raises Refused when it has expired or is another's; stop then.

        Raises Unavailable or OutcomeUnknown as the store does; until `expires_at` it may be tried again.
        """
        now = self._store.now()
        if now >= self.expires_at:
            raise self._lost(self._log.newest() or self._entry)
        self._append(expires_at=now + self._for, released=False)

    def release(self) -> None:
        """Afterwards another may have it at once. Raises as `renew`."""
        self._append(expires_at=self.expires_at, released=True)

    def _append(self, *, expires_at: datetime, released: bool) -> None:
        entry = self._entry.model_copy(
            update={
                "sequence": self._entry.sequence + 1,
                "write_id": new_write_id(),
                "expires_at": expires_at,
                "released": released,
            }
        )
        try:
            self._log.append(entry)
        except AlreadyExists:
            found = self._log.find(entry.sequence)
            if found is None or found.lease_id != entry.lease_id:
                raise self._lost(found or entry) from None
            self._entry = found  # A renewal of ours whose reply was lost; the next one follows it.
            self._append(expires_at=expires_at, released=released)
        else:
            self._entry = entry

    def _lost(self, newest: LeaseEntry) -> Refused:
        now_with = "" if newest.lease_id == self._entry.lease_id else f" and is with {newest.holder} now"
        return Refused(
            f"the lease on {self._entry.what!r} of {self._entry.holder} ended at {_clock(self.expires_at)}{now_with};"
            " begin again to go on"
        )


def _clock(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M:%S} UTC"
