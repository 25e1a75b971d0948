"""Where an S3 store lies: s3://bucket/prefix?endpoint_url=...&region=..., read and written."""

from __future__ import annotations

import difflib
import re
from dataclasses import dataclass
from typing import Self
from urllib.parse import parse_qsl, urlencode, urlsplit

from raymaas.errors import InvalidInput
from raymaas.store.contract import is_key

_BUCKET = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
_REGION = re.compile(r"[a-z0-9-]{1,40}")
_FIELDS = ("endpoint_url", "region")
_CREDENTIAL = re.compile(r"key|secret|token|password|user|profile", re.IGNORECASE)
_MAX_PREFIX_CHARACTERS = 120  # With MAX_KEY_CHARACTERS below it, within the 1024 bytes that S3 allows.


@dataclass(frozen=True)
class S3Place:
    """A bucket and a prefix in it, '' or ending in '/'. `str` of it is for messages."""

    bucket: str
    prefix: str = ""
    endpoint_url: str | None = None
    region: str | None = None

    @classmethod
    def parse(cls, url: str) -> Self:
        """The place that `url` names. Raises InvalidInput, in which no credential is repeated."""
        parts = urlsplit(url)
        if "@" in parts.netloc:
            raise _credentials()
        if not _BUCKET.fullmatch(parts.netloc):
            raise InvalidInput(
                f"{parts.netloc!r} is not a bucket: 3 to 63 lower-case letters, digits, '-' and '.';"
                " write s3://bucket/prefix"
            )
        prefix = parts.path.strip("/")
        too_long = len(prefix) > _MAX_PREFIX_CHARACTERS
        if too_long or parts.fragment or (prefix and not is_key(prefix)):
            raise InvalidInput(
                f"{(parts.path + parts.fragment)[:150]!r} cannot be a prefix: use letters, digits and . _ @ = -"
                f" in parts joined by '/', at most {_MAX_PREFIX_CHARACTERS} characters"
            )
        fields = _fields(parts.query)
        region = fields.get("region")
        if region is not None and not _REGION.fullmatch(region):
            raise InvalidInput(f"{region[:50]!r} is not a region; write region=eu-central-1, or leave it out")
        return cls(
            bucket=parts.netloc,
            prefix=prefix and f"{prefix}/",
            endpoint_url=_endpoint(fields["endpoint_url"]) if "endpoint_url" in fields else None,
            region=region,
        )

    @property
    def url(self) -> str:
        """What `parse` reads back to the same place."""
        given = {name: getattr(self, name) for name in _FIELDS if getattr(self, name)}
        query = f"?{urlencode(given, safe=':/[]')}" if given else ""
        return f"s3://{self.bucket}/{self.prefix}".rstrip("/") + query

    def __str__(self) -> str:
        where = f" at {self.endpoint_url}" if self.endpoint_url else ""
        return f"s3://{self.bucket}/{self.prefix}".rstrip("/") + where


def _fields(query: str) -> dict[str, str]:
    try:
        fields = dict(parse_qsl(query, strict_parsing=True)) if query else {}
    except ValueError:
        raise InvalidInput(
            "what follows '?' in the store's URL must be name=value, such as endpoint_url=http://host:9000"
        ) from None
    for name in fields:
        if name in _FIELDS:
            continue
        near = difflib.get_close_matches(name, _FIELDS, n=1)
        if not near and _CREDENTIAL.search(name):
            raise _credentials()
        hint = f"did you mean {near[0]!r}?" if near else f"known are {', '.join(_FIELDS)}"
        raise InvalidInput(f"unknown field {name!r} in the store's URL; {hint}")
    return fields


def _endpoint(text: str) -> str:
    parts = urlsplit(text)
    try:
        port_is_valid = parts.port is None or parts.port > 0
    except ValueError:
        port_is_valid = False
    if "@" in parts.netloc:
        raise _credentials()
    if parts.scheme not in ("http", "https") or not parts.hostname or not port_is_valid:
        raise InvalidInput(f"{text[:100]!r} is not an endpoint; write endpoint_url=https://host:port")
    if parts.path.strip("/") or parts.query or parts.fragment:
        raise InvalidInput(f"endpoint {text[:100]!r} must end after the port; the bucket comes before '?'")
    return f"{parts.scheme}://{parts.netloc}"


def _credentials() -> InvalidInput:
    return InvalidInput(
        "credentials do not belong into a store's URL, which is printed and stored; set AWS_ACCESS_KEY_ID and"
        " AWS_SECRET_ACCESS_KEY, or AWS_PROFILE with a profile in ~/.aws"
    )
