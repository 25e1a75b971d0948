"""The gate: whose key a request to the control plane carries, and whether that key may do what it asks.

Edges ask the same before. It is asked again here, because the control plane's own port is open to every process of the
machine, and because edges follow a moment later.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from starlette.datastructures import Headers

from raymaas.errors import Denied, RaymaasError
from raymaas.specs.keys import ApiKey, KeyRing

HEALTH = ("/v2/health/live", "/v2/health/ready")
_UNKNOWN = (
    "send a live API key, as 'Authorization: Bearer KEY' or 'X-Api-Key: KEY'; see `raymaas keys --help`"
)
_OWN_SECRET = "/internal/"  # what edge agents ask: with the cluster's secret, and no key


class Gate:
    """`ring` reads the keys in force; while there are none, everybody is let in."""

    def __init__(self, ring: Callable[[], KeyRing | None]) -> None:
        self._ring = ring

    async def admit(
        self, path: str, headers: Headers
    ) -> tuple[ApiKey | None, tuple[int, RaymaasError] | None]:
        """The key that was found, and status and error for who is not let in.

        Raises Unavailable while it cannot be told which keys there are.
        """
        if path in HEALTH or path.startswith(_OWN_SECRET):
            return None, None
        ring = await asyncio.to_thread(self._ring)
        if ring is None:
            return None, None
        key = ring.holder_of(_given(headers))
        if key is None:
            return None, (401, Denied(_UNKNOWN))
        sentence = _forbidden(key, path)
        return key, (403, Denied(sentence)) if sentence else None


def _given(headers: Headers) -> str:
    scheme, _, key = headers.get("authorization", "").partition(" ")
    return key.strip() if scheme.lower() == "bearer" else headers.get("x-api-key", "")


def _forbidden(key: ApiKey, path: str) -> str:
    """Why `key` may not ask `path`; empty when it may."""
    match path.split("/"):
        case ["", "v2", "models", model, *_] if not key.may_ask(model):
            return f"the key of {key.name!r} is not for model {model[:63]!r}; use another key"
        # Who asks may say how good the answer was; of which models is asked where the model is known.
        case ["", "v2", *_] | ["", "api", "v1", "feedback"] | ["", "api", "v1", "models", _, "feedback"]:
            wanted = "predict"
        case _:
            wanted = "admin"
    return "" if wanted in key.scopes else f"the key of {key.name!r} has no scope {wanted}; use another key"
