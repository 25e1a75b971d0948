"""Usage: requests and rows, counted by API key and version."""

from __future__ import annotations

from pydantic import Field

from raymaas.specs.base import Moment, Spec
from raymaas.specs.keys import KeyId
from raymaas.specs.names import Name


class UsageLine(Spec):
    """What one key asked of one version."""

    key_id: KeyId | None = Field(description="null: asked without a key.")
    name: str = Field(description="The key's caller; empty without a key.")
    model: Name
    version: int
    requests: int = Field(description="Requests that a replica answered, errors among them.")
    errors: int = Field(description="Those answered with a status of 400 or more.")
    rows: int = Field(description="Rows that were answered.")


class Usage(Spec):
    """What was asked from one moment to another: sums over the request logs of replicas.

    Edges answer without a replica when a key is unknown, has not the scope, or is over its limit: not counted. Nor are
    copies for a version that shadows another, nor the requests of a version that is deployed with request_log off, nor
    those without errors where it is `errors`.
    """

    since: Moment
    until: Moment
    lines: tuple[UsageLine, ...] = Field(description="By name, key, model and version.")
    unrecorded: int = Field(description="Requests of any key that a replica could not record.")
