"""Every error raymaas raises on purpose, grouped by what the caller should do about it.

    RaymaasError
      InvalidInput     change the request
        TooLarge       send less at once
      NotFound         that model, version, alias or run does not exist
      AlreadyExists    someone else wrote it first; read it and decide
      Denied           use another key
      QuotaExceeded    wait `retry_after_s`
      Unavailable      retry, after `retry_after_s` where that is known; nothing was done
      DeadlineExceeded allow more time, or ask for less
      OutcomeUnknown   look before you retry; it may have been done
      IntegrityError   the bytes are not what was published; nothing was loaded
      Refused          a policy or a present use forbids it; the message names which
      RunFailed        the job ran and failed; `run` is its id, and the message says where its log is
        OutOfBudget    it stopped when its budget was spent; resume it with a larger one

A message says what, which, and the next step: "version 7 of 'churn' does not exist; latest is 5".
Each class has a `code`, the word that names it on the wire, so a client can raise what the server raised.
"""

from __future__ import annotations

from typing import Any, ClassVar


class RaymaasError(Exception):
    """The root. `str(error)` is the whole sentence meant for the user."""

    code: ClassVar[str] = "error"

    def details(self) -> dict[str, Any]:
        """What travels beside the sentence, as JSON values."""
        return {}


class InvalidInput(RaymaasError):
    code = "invalid-input"


class TooLarge(InvalidInput):
    code = "too-large"


class NotFound(RaymaasError):
    code = "not-found"


class AlreadyExists(RaymaasError):
    code = "already-exists"


class Denied(RaymaasError):
    code = "denied"


class QuotaExceeded(RaymaasError):
    code = "quota-exceeded"

    def __init__(self, message: str, *, retry_after_s: float = 1.0) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s

    def details(self) -> dict[str, Any]:
        return {"retry_after_s": self.retry_after_s}


class Unavailable(RaymaasError):
    code = "unavailable"

    def __init__(self, message: str, *, retry_after_s: float | None = None) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s

    def details(self) -> dict[str, Any]:
        return {} if self.retry_after_s is None else {"retry_after_s": self.retry_after_s}


class DeadlineExceeded(RaymaasError):
    code = "deadline-exceeded"


class OutcomeUnknown(RaymaasError):
    code = "outcome-unknown"


class IntegrityError(RaymaasError):
    code = "integrity"


class Refused(RaymaasError):
    code = "refused"


class RunFailed(RaymaasError):
    code = "run-failed"

    def __init__(self, message: str, *, run: str = "") -> None:
        super().__init__(message)
        self.run = run

    def details(self) -> dict[str, Any]:
        return {"run": self.run}


class OutOfBudget(RunFailed):
    code = "out-of-budget"


_BY_CODE: dict[str, type[RaymaasError]] = {
    cls.code: cls
    for cls in (
        InvalidInput,
        TooLarge,
        NotFound,
        AlreadyExists,
        Denied,
        QuotaExceeded,
        Unavailable,
        DeadlineExceeded,
        OutcomeUnknown,
        IntegrityError,
        Refused,
        RunFailed,
        OutOfBudget,
    )
}


_CARRIED: dict[type[RaymaasError], str] = {
    QuotaExceeded: "retry_after_s",
    Unavailable: "retry_after_s",
    RunFailed: "run",
    OutOfBudget: "run",
}


def error_from_wire(code: str, message: str, details: dict[str, Any] | None = None) -> RaymaasError:
    """The error a server meant: the class of `code`, or RaymaasError for a code this version does not know."""
    cls = _BY_CODE.get(code, RaymaasError)
    carried = _CARRIED.get(cls)
    return cls(message, **{carried: details[carried]} if details and carried in details else {})
