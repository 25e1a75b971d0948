"""Request documents: which requests a version answered, one chunk for each few seconds of one replica."""

from __future__ import annotations

from typing import Any

from pydantic import Field, model_validator

from raymaas.specs.base import Document, Moment, Spec
from raymaas.specs.keys import KeyId
from raymaas.specs.names import Name


class RequestRecord(Spec):
    """One answered request. What was asked and what was answered are not kept."""

    request_id: str
    at: Moment = Field(description="When it was answered, by the clock of the replica's machine.")
    model: Name
    version: int = Field(ge=1)
    replica: Name = Field(description="Which replica answered: Ray Serve's id of it.")
    status: int = Field(description="HTTP status of the answer.")
    milliseconds: float = Field(description="From the replica's first look at the request to its answer.")
    rows: int | None = Field(description="Rows that were asked about; null when none were read.")
    key_id: KeyId | None = Field(default=None, description="The API key it was asked with.")
    shadow: bool = Field(
        default=False,
        description="A copy of a request that another version answered; this answer went to nobody.",
    )


class Compared(Spec):
    """Answers to copies of requests, compared with those that were given."""

    rows: int = Field(ge=0, description="Rows that both answered.")
    rows_disagreed: int = Field(ge=0, description="Those of them on which they differ.")
    errors: int = Field(ge=0, description="Copies that got no answer.")
    dropped: int = Field(ge=0, description="Copies that were not sent, since the replica was busy.")

    def since(self, before: Compared | None) -> Compared:
        """What came after `before`."""
        if before is None:
            return self
        return Compared(**{name: value - getattr(before, name) for name, value in self})


class RequestChunk(Document):
    """Requests that one replica answered, in order: column i of each list is request i.

    By columns, because a busy replica writes thousands a second: half the bytes and a tenth of the time of a
    list of records.
    """

    kind = "request-log"
    format = 2

    model: Name
    version: int = Field(ge=1)
    replica: Name
    request_ids: tuple[str, ...]
    at_ms: tuple[int, ...] = Field(description="Milliseconds since 1970.")
    statuses: tuple[int, ...]
    microseconds: tuple[int, ...]
    rows: tuple[int | None, ...]
    key_ids: tuple[KeyId, ...] = Field(description="The API keys that asked, each once.")
    asked_with: tuple[int, ...] = Field(description="Which of those, from 1; 0: without a key.")
    dropped: int = Field(
        ge=0, description="Requests not recorded since the chunk before: the store was behind."
    )
    shadows: tuple[int, ...] = Field(
        default=(),
        description="Which requests, by their place, were copies of what another version answered.",
    )
    compared: dict[int, Compared] = Field(
        default_factory=dict,
        description="By the version that got copies of this one's requests, since the chunk before.",
    )

    @model_validator(mode="after")
    def _columns_of_one_length(self) -> RequestChunk:
        columns = (
            self.request_ids,
            self.at_ms,
            self.statuses,
            self.microseconds,
            self.rows,
            self.asked_with,
        )
        if len({len(column) for column in columns}) != 1:
            raise ValueError("the columns of a request log have different lengths")
        if self.asked_with and not 0 <= min(self.asked_with) <= max(self.asked_with) <= len(self.key_ids):
            raise ValueError("a request names a key that the request log does not have")
        if self.shadows and not 0 <= min(self.shadows) <= max(self.shadows) < len(self.request_ids):
            raise ValueError("a copy is named that the request log does not have")
        return self

    @classmethod
    def upgraded(cls, body: dict[str, Any], number: int) -> dict[str, Any]:
        """Format 1 knew no keys."""
        return body | {"key_ids": [], "asked_with": [0] * len(body["request_ids"])}

    def key_of(self, row: int) -> KeyId | None:
        number = self.asked_with[row]
        return self.key_ids[number - 1] if number else None
