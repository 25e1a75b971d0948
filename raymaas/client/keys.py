"""API keys and what was asked with them, from Python: `client.keys`, blocking and awaited."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from raymaas.client import calls
from raymaas.client.link import AsyncLink, Link
from raymaas.specs.api import CreatedKey
from raymaas.specs.keys import Grant, KeyFacts, RateLimit, Scope
from raymaas.specs.usage import Usage


def grant(name: str, *, scopes: Sequence[Scope], models: Sequence[str], limit: RateLimit | None) -> Grant:
    """Raises InvalidInput naming what cannot be granted."""
    given = {"name": name, "scopes": tuple(scopes), "models": tuple(models), "limit": limit}
    return Grant.parse(given, source="key")


class Keys:
    """API keys. Everything here needs one with scope admin, once there are any."""

    def __init__(self, link: Link) -> None:
        self._link = link

    def create(
        self,
        name: str,
        *,
        scopes: Sequence[Scope] = ("predict",),
        models: Sequence[str] = (),
        limit: RateLimit | None = None,
        why: str = "",
    ) -> CreatedKey:
        """A key for the caller `name`, who may ask `models`, names or patterns such as digits-*, or all of them.

        Its `.key` is told this once. From the first key on, which must have scope admin, everybody needs one.
        """
        asked = grant(name, scopes=scopes, models=models, limit=limit)
        return self._link.call(calls.key_create(asked, why=why))

    def list(self) -> tuple[KeyFacts, ...]:
        """Every key there ever was, oldest first; those that still work are `live`."""
        return self._link.call(calls.keys())

    def revoke(self, which: str, *, why: str = "") -> KeyFacts:
        """Let nobody in with the key of that name or id, `rmk_` and eight digits, from a moment later on.

        Raises Refused for the last key with scope admin.
        """
        return self._link.call(calls.key_revoke(which, why=why))

    def usage(
        self, *, since: datetime | None = None, model: str | None = None, key: str | None = None
    ) -> Usage:
        """Requests, errors and rows by key and version, of the last day unless `since` says otherwise."""
        return self._link.call(calls.usage(since=since, model=model, key=key))


class AsyncKeys:
    """`Keys` with `await`."""

    def __init__(self, link: AsyncLink) -> None:
        self._link = link

    async def create(
        self,
        name: str,
        *,
        scopes: Sequence[Scope] = ("predict",),
        models: Sequence[str] = (),
        limit: RateLimit | None = None,
        why: str = "",
    ) -> CreatedKey:
        """A key for the caller `name`, who may ask `models`, names or patterns such as digits-*, or all of them.

        Its `.key` is told this once. From the first key on, which must have scope admin, everybody needs one.
        """
        asked = grant(name, scopes=scopes, models=models, limit=limit)
        return await self._link.call(calls.key_create(asked, why=why))

    async def list(self) -> tuple[KeyFacts, ...]:
        """Every key there ever was, oldest first; those that still work are `live`."""
        return await self._link.call(calls.keys())

    async def revoke(self, which: str, *, why: str = "") -> KeyFacts:
        """Let nobody in with the key of that name or id, `rmk_` and eight digits, from a moment later on.

        Raises Refused for the last key with scope admin.
        """
        return await self._link.call(calls.key_revoke(which, why=why))

    async def usage(
        self, *, since: datetime | None = None, model: str | None = None, key: str | None = None
    ) -> Usage:
        """Requests, errors and rows by key and version, of the last day unless `since` says otherwise."""
        return await self._link.call(calls.usage(since=since, model=model, key=key))
