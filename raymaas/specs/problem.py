"""Problem: the control plane's one JSON shape for errors, after RFC 9457 (application/problem+json)."""

from __future__ import annotations

from pydantic import Field, JsonValue

from raymaas.errors import RaymaasError, error_from_wire
from raymaas.specs.base import Spec


class Problem(Spec):
    """An error on its way to a client, which raises the same class again."""

    type: str = Field(description="The error's code, e.g. 'not-found'.")
    title: str = Field(description="The class name, e.g. 'NotFound'.")
    status: int
    detail: str = Field(description="The whole sentence: what, which, next step.")
    request_id: str | None = None
    extra: dict[str, JsonValue] = Field(default_factory=dict)

    @classmethod
    def of(cls, error: RaymaasError, *, status: int, request_id: str | None = None) -> Problem:
        return cls(
            type=error.code,
            title=type(error).__name__,
            status=status,
            detail=str(error),
            request_id=request_id,
            extra=error.details(),
        )

    def to_error(self) -> RaymaasError:
        return error_from_wire(self.type, self.detail, dict(self.extra))
