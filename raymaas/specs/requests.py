"""Request documents: which requests a version answered, one chunk for each few seconds of one replica."""

from __future__ import annotations

from pydantic import Field, model_validator

from raymaas.specs.base import Document, Moment, Spec
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


class RequestChunk(Document):
    """Requests that one replica answered, in order: column i of each list is request i.

    By columns, because a busy replica writes thousands a second: half the bytes and a tenth of the time of a
    list of records.
    """

    kind = "request-log"

    model: Name
    version: int = Field(ge=1)
    replica: Name
    request_ids: tuple[str, ...]
    at_ms: tuple[int, ...] = Field(description="Milliseconds since 1970.")
    statuses: tuple[int, ...]
    microseconds: tuple[int, ...]
    rows: tuple[int | None, ...]
    dropped: int = Field(
        ge=0, description="Requests not recorded since the chunk before: the store was behind."
    )

    @model_validator(mode="after")
    def _columns_of_one_length(self) -> RequestChunk:
        columns = (self.request_ids, self.at_ms, self.statuses, self.microseconds, self.rows)
        if len({len(column) for column in columns}) != 1:
            raise ValueError("the columns of a request log have different lengths")
        return self
