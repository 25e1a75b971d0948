"""What an error of S3 or of the way to it means: was anything done, is it worth another try, what to tell."""

from __future__ import annotations

import socket
from dataclasses import dataclass

import aiohttp
from botocore import exceptions as boto

from raymaas.errors import Denied, InvalidInput, OutcomeUnknown, RaymaasError, Unavailable
from raymaas.store.s3_place import S3Place

# S3's words for these. The client's own faults get words of the same kind.
EXISTS, NO_KEY, NO_RANGE = "PreconditionFailed", "NoSuchKey", "InvalidRange"
_NO_BUCKET, _NO_CREDENTIALS, _NOT_REACHED = "NoSuchBucket", "NoCredentials", "NotReached"
_REPLY_LOST, _NO_CONDITIONS, _CLOCK_IS_WRONG = "ReplyLost", "NotImplemented", "RequestTimeTooSkewed"

_REFUSED_FOR_NOW = frozenset({"SlowDown", "TooManyRequests"})
_GARBLED = frozenset({"BadDigest", "IncompleteBody", "RequestTimeout", "XAmzContentSHA256Mismatch"})
_CREDENTIAL_ERRORS = (
    boto.NoCredentialsError,
    boto.PartialCredentialsError,
    boto.CredentialRetrievalError,
    boto.TokenRetrievalError,
    boto.NoAuthTokenError,
    boto.ProfileNotFound,
    boto.ConfigParseError,
    boto.ConfigNotFound,
)


@dataclass(frozen=True)
class Fault:
    """One failed try. `code` is S3's own word, or ours for a fault on the way; `said` is for people."""

    code: str
    said: str
    may_be_done: bool = False
    worth_retrying: bool = False
    denied: bool = False


class S3Failed(Exception):
    """A request that is not tried again. `may_be_done`: one of its tries may have been carried out."""

    def __init__(self, fault: Fault, *, may_be_done: bool) -> None:
        super().__init__(f"{fault.code}: {fault.said}")
        self.fault = fault
        self.may_be_done = may_be_done

    def as_error(self, place: S3Place, *, doing: str) -> RaymaasError:
        """What to raise for it. `doing` says what was tried, such as "writing a/b"."""
        if self.may_be_done:
            return OutcomeUnknown(
                f"{doing} in {place} may or may not have been done ({self.fault.said}); look before trying again"
            )
        return _nothing_done(self.fault, place, doing)


def fault_of(error: Exception) -> Fault | None:
    """What `error` of s3fs means; None for one that neither S3 nor the way to it gave."""
    cause: BaseException | None = error
    while (
        cause is not None
    ):  # s3fs hides S3's answer below an OSError that says less, fsspec some below another
        if isinstance(cause, boto.ClientError):
            return _answered(cause)
        cause = cause.__cause__
    match error:
        case _ if isinstance(error, _CREDENTIAL_ERRORS):
            return Fault(_NO_CREDENTIALS, _words(error), denied=True)
        case boto.EndpointConnectionError() if not _before_sending(error.kwargs.get("error")):
            # aiobotocore gives this name also to a connection that was reset after the request was sent.
            return Fault(_REPLY_LOST, _words(error), may_be_done=True, worth_retrying=True)
        case boto.SSLError():
            return Fault(_NOT_REACHED, _words(error))
        case boto.ConnectionError():
            return Fault(_NOT_REACHED, _words(error), worth_retrying=True)
        case (
            boto.HTTPClientError()
            | boto.FlexibleChecksumError()
            | boto.IncompleteReadError()
            | aiohttp.ClientError()
            | TimeoutError()
        ):
            return Fault(_REPLY_LOST, _words(error), may_be_done=True, worth_retrying=True)
        case boto.BotoCoreError():
            return Fault(type(error).__name__, _words(error))
    return None


def _answered(error: boto.ClientError) -> Fault:
    answer = error.response.get("Error", {})
    status = int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
    code = str(answer.get("Code") or status)
    said = f"{code}: {answer.get('Message') or 'no reason given'}"
    if status == 409 or code in _REFUSED_FOR_NOW or code in _GARBLED:
        return Fault(code, said, worth_retrying=True)
    if status >= 500 and code != _NO_CONDITIONS:
        return Fault(code, said, may_be_done=True, worth_retrying=True)
    return Fault(EXISTS if status == 412 else code, said, denied=status in (401, 403))


def _before_sending(error: object) -> bool:
    return isinstance(error, aiohttp.ClientConnectorError | socket.gaierror)


def _words(error: Exception) -> str:
    # botocore's sentence leaves out the reason that the network gave.
    reason = getattr(error, "kwargs", {}).get("error") or error
    return " ".join(str(reason).split()) or type(reason).__name__


def _nothing_done(fault: Fault, place: S3Place, doing: str) -> RaymaasError:
    where = place.endpoint_url or "AWS"
    if fault.code == _NO_CREDENTIALS:
        return Denied(
            f"no credentials for {place} were found ({fault.said}); set AWS_ACCESS_KEY_ID and"
            " AWS_SECRET_ACCESS_KEY, or AWS_PROFILE with a profile in ~/.aws"
        )
    if fault.code == _NO_BUCKET:
        return Unavailable(
            f"bucket {place.bucket!r} does not exist at {where}; create it, or correct the store's URL"
        )
    if fault.code == _NOT_REACHED:
        return Unavailable(
            f"{place} cannot be reached ({fault.said}); check endpoint_url, and that the server runs."
            " Nothing was done"
        )
    if fault.code == _NO_CONDITIONS:
        return InvalidInput(
            f"{where} has no conditional writes, without which two writers would overwrite each other;"
            " use a server that has them"
        )
    if fault.code == _CLOCK_IS_WRONG:
        return Denied(f"{where} refuses this machine's clock ({fault.said}); set it right")
    if fault.denied:
        return Denied(
            f"{doing} in {place} was denied ({fault.said}); use credentials that may get, put, list and delete"
            " there"
        )
    return Unavailable(f"{doing} in {place} failed ({fault.said}); nothing was done, try again")
