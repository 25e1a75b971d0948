"""API keys: what a key may do (Grant), the keys there are (KeyRing), and how a key is written."""

from __future__ import annotations

import fnmatch
import hmac
import re
from collections.abc import Iterable
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, StringConstraints, model_validator

from raymaas.specs.base import Document, Moment, OneLine, Spec, sha256_hex
from raymaas.specs.names import Name, check_name

Scope = Literal["predict", "admin"]

KEY_PREFIX = "rmk_"
_ID_LENGTH = 8
_SECRET_LENGTH = 32  # Characters of base64: 192 bits.
_PATTERN = re.compile(r"[a-z0-9*?][a-z0-9._*?-]{0,62}")
_FILLS_WITHIN_S = 1800.0

KEY_ID = re.compile(r"[0-9a-f]{8}")
KeyId = Annotated[str, StringConstraints(pattern=rf"^{KEY_ID.pattern}$")]

Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]


def _check_pattern(text: str) -> str:
    if not _PATTERN.fullmatch(text):
        raise ValueError(f"{text!r} is not a model's name, nor a pattern such as digits-*")
    return text


def _check_caller(text: str) -> str:
    # Keys are revoked by name or by id, and the id is written with the prefix.
    if text.startswith(KEY_PREFIX):
        raise ValueError(f"a name must not begin with {KEY_PREFIX}, as keys do")
    return check_name(text)


def key_text(key_id: str, secret: str) -> str:
    """The key itself: its id, by which it is known, and `secret`, base64url without padding, which nobody keeps."""
    if not re.fullmatch(rf"[A-Za-z0-9_-]{{{_SECRET_LENGTH},}}", secret):
        raise ValueError(f"a key's secret has {_SECRET_LENGTH} characters of base64url or more")
    return f"{KEY_PREFIX}{key_id}_{secret}"


class RateLimit(Spec):
    """A bucket of `burst` requests that fills at `requests_per_s`; each edge has its own."""

    requests_per_s: float = Field(gt=0, le=1e6, description="Requests a second in the long run.")
    burst: int = Field(ge=1, le=10**6, description="Requests that may come at once after a pause.")

    @model_validator(mode="after")
    def _fills_in_time(self) -> RateLimit:
        if self.burst / self.requests_per_s > _FILLS_WITHIN_S:
            raise ValueError(
                f"{self.burst} requests at {self.requests_per_s:g} a second take more than half an hour to"
                " come again; lower burst"
            )
        return self


class Grant(Spec):
    """Who a key is for, and what it may do."""

    name: Annotated[Name, AfterValidator(_check_caller)] = Field(
        description="Of the caller: kept in histories, and what usage is summed by. Two keys may have one, to rotate."
    )
    scopes: tuple[Scope, ...] = Field(
        ("predict",),
        min_length=1,
        description="predict: ask models, /v2. admin: all of the control plane, /api.",
    )
    models: tuple[Annotated[str, AfterValidator(_check_pattern)], ...] = Field(
        (), description="Models it may ask, by name or pattern such as digits-*; none given: every model."
    )
    limit: RateLimit | None = Field(default=None, description="What edges let through; null: everything.")

    @model_validator(mode="after")
    def _nothing_said_in_vain(self) -> Grant:
        if len(set(self.scopes)) != len(self.scopes):
            raise ValueError("a scope is named twice")
        if self.models and "admin" in self.scopes:
            raise ValueError("a key with scope admin can change every model; give models or admin, not both")
        return self

    def may_ask(self, model: str) -> bool:
        """Whether `models` lets this key ask `model`. The scope is another question."""
        return not self.models or any(fnmatch.fnmatchcase(model, pattern) for pattern in self.models)


class EdgeKey(Grant):
    """What an edge needs to know of a live key."""

    key_id: KeyId
    sha256: Sha256


class KeyFacts(Grant):
    """What is told of a key. The key itself cannot be found from it."""

    key_id: KeyId = Field(description="The eight digits that follow rmk_ in the key.")
    created_at: Moment
    created_by: OneLine
    revoked_at: Moment | None = None
    revoked_by: OneLine | None = None

    @property
    def live(self) -> bool:
        return self.revoked_at is None


class ApiKey(KeyFacts):
    """What is kept of a key."""

    sha256: Sha256 = Field(description="Of the key as it is sent.")

    def facts(self) -> KeyFacts:
        return KeyFacts.model_validate(self.model_dump(exclude={"sha256"}))

    def for_edge(self) -> EdgeKey:
        return EdgeKey.model_validate(self.model_dump(include=set(EdgeKey.model_fields)))


class KeyChange(Spec):
    """Which key was created or revoked, by whom, when and why."""

    action: Literal["create", "revoke"]
    key_id: KeyId
    who: OneLine
    why: OneLine = ""
    at: Moment


class KeyRing(Document):
    """All keys there ever were, in one document, so that what must hold of all of them is one write.

    While there is none, nobody needs a key. Once there is one, everybody does: a live admin key always remains.
    """

    kind = "key-ring"

    revision: int = Field(ge=1, description="Counts up by one with each change.")
    write_id: str
    keys: tuple[ApiKey, ...] = Field(min_length=1)
    change: KeyChange

    @model_validator(mode="after")
    def _an_admin_remains(self) -> KeyRing:
        if len({key.key_id for key in self.keys}) != len(self.keys):
            raise ValueError("two keys have one id by chance; create it again")
        if not any("admin" in key.scopes for key in self.live):
            raise ValueError("no live key has scope admin; nobody could create another")
        return self

    @property
    def live(self) -> tuple[ApiKey, ...]:
        return tuple(key for key in self.keys if key.live)

    def holder_of(self, given: str) -> ApiKey | None:
        """The live key that `given` is; None for any other text.

        Compared are SHA-256 digests, in constant time: how long it takes says nothing of a key.
        """
        digest = sha256_hex(given.encode("utf-8", "surrogateescape"))
        return next((key for key in self.live if hmac.compare_digest(key.sha256, digest)), None)

    def name_of(self, key_id: str) -> str:
        """The name of a key, revoked or not; empty when there is none of that id."""
        return next((key.name for key in self.keys if key.key_id == key_id), "")


def known_as(keys: Iterable[ApiKey], which: str) -> list[ApiKey]:
    """The keys that `which` names: a caller's name, or one key's id as `rmk_` and eight digits."""
    which = without_secret(which)
    return [key for key in keys if which in (key.name, f"{KEY_PREFIX}{key.key_id}")]


def without_secret(which: str) -> str:
    """`which` fit for a path, a log or a message: of a whole key only its id is left."""
    return which[: len(KEY_PREFIX) + _ID_LENGTH] if which.startswith(KEY_PREFIX) else which[:80]
