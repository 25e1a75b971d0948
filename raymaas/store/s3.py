"""S3Store: a bucket, or a prefix in one, where If-None-Match makes creation atomic."""

from __future__ import annotations

import random as random_numbers
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from raymaas.errors import NotFound, Unavailable
from raymaas.store.contract import (
    SEGMENT,
    absent,
    check_key,
    check_limit,
    check_prefix,
    check_range,
    held,
    is_key,
)
from raymaas.store.s3_client import S3Client, S3Tuning
from raymaas.store.s3_fault import EXISTS, NO_KEY, NO_RANGE, S3Failed
from raymaas.store.s3_place import S3Place

if TYPE_CHECKING:
    import pyarrow.fs


class S3Store:
    """Objects below a prefix of a bucket. Credentials come from the usual AWS chain, never from the URL.

    They need to get, put, list and delete objects below the prefix. A key appears by one conditional request:
    PutObject, or for large data the CompleteMultipartUpload. Objects that others put there under names that
    are no keys, such as Arrow's folder markers, are passed over. `random` gives 0 to 1 and, with `sleep`,
    spaces the tries of a request.
    """

    def __init__(
        self,
        place: S3Place,
        *,
        tuning: S3Tuning | None = None,
        random: Callable[[], float] = random_numbers.random,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._place = place
        self._tuning = tuning or S3Tuning()
        self._random, self._sleep = random, sleep
        self._client = S3Client(place, self._tuning, random=random, sleep=sleep)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.url!r})"

    def __reduce__(self) -> tuple[Any, ...]:
        # What travels to another process says how to connect; a connection cannot.
        make = partial(type(self), tuning=self._tuning, random=self._random, sleep=self._sleep)
        return make, (self._place,)

    @property
    def url(self) -> str:
        return self._place.url

    def read(self, key: str) -> bytes:
        with self._asking(f"reading {check_key(key)}", key):
            data: bytes = self._get(key)["Body"]
        return data

    def read_range(self, key: str, *, start: int, length: int) -> bytes:
        check_range(start, length)
        if length == 0:  # S3 has no word for it.
            self.size(key)
            return b""
        with self._asking(f"reading {check_key(key)}", key):
            try:
                data: bytes = self._get(key, Range=f"bytes={start}-{start + length - 1}")["Body"]
            except S3Failed as failed:
                if failed.fault.code != NO_RANGE:
                    raise
                return b""
        return data

    def size(self, key: str) -> int:
        # One byte, not HEAD: an error of HEAD has no body to tell an absent key from an absent bucket.
        with self._asking(f"reading the size of {check_key(key)}", key):
            try:
                answer = self._get(key, Range="bytes=0-0")
            except S3Failed as failed:
                if failed.fault.code != NO_RANGE:
                    raise
                return 0
        return int(answer["ContentRange"].rpartition("/")[2])

    def exists(self, key: str) -> bool:
        try:
            self.size(key)
        except NotFound:
            return False
        return True

    def create(self, key: str, data: bytes) -> None:
        large = len(data) >= self._tuning.multipart_from_bytes
        with self._asking(f"writing {check_key(key)}", key):
            if large:
                self._put_in_parts(self._place.prefix + key, data)
            else:
                self._commit("put_object", self._place.prefix + key, Body=data)

    def first(self, prefix: str) -> str | None:
        return next(iter(self.list(prefix, limit=1)), None)

    def children(self, prefix: str) -> list[str]:
        under = self._place.prefix + check_prefix(prefix)
        names: set[str] = set()
        # From after the prefix itself: SeaweedFS takes a page that ends with its marker for the last one.
        start: dict[str, Any] = {"StartAfter": under}
        with self._asking(f"listing {prefix}", prefix):
            while True:
                page = self._client.call(
                    "list_objects_v2",
                    Prefix=under,
                    Delimiter="/",
                    MaxKeys=self._tuning.keys_per_page,
                    **start,
                )
                names |= {each["Prefix"][len(under) : -1] for each in page.get("CommonPrefixes", ())}
                if not page["IsTruncated"]:
                    return sorted(name for name in names if SEGMENT.fullmatch(name))
                start = {"ContinuationToken": page["NextContinuationToken"]}

    def delete(self, key: str) -> None:
        with self._asking(f"deleting {check_key(key)}", key):
            self._client.call("delete_object", commits=True, Key=self._place.prefix + key)

    def now(self) -> datetime:
        """The server's clock, from the Date of its answers: whole seconds, rounded down."""
        with self._asking("asking for the time", ""):
            answer = self._client.call("list_objects_v2", Prefix=self._place.prefix, MaxKeys=1)
        date = answer["ResponseMetadata"]["HTTPHeaders"].get("date")
        if not date:
            raise Unavailable(f"{self._place} answers without a Date; use a server that tells its time")
        return parsedate_to_datetime(date).astimezone(UTC)

    def arrow_filesystem(self) -> tuple[pyarrow.fs.FileSystem, str]:
        """As promised. Arrow finds the credentials itself, by the same chain: none are in it when it is pickled."""
        import pyarrow.fs

        options: dict[str, str] = {}
        if self._place.endpoint_url:
            endpoint = urlsplit(self._place.endpoint_url)
            options |= {"endpoint_override": endpoint.netloc, "scheme": endpoint.scheme}
        if self._place.region:
            options["region"] = self._place.region
        return pyarrow.fs.S3FileSystem(**options), f"{self._place.bucket}/{self._place.prefix}".rstrip("/")

    def _get(self, key: str, **options: Any) -> dict[str, Any]:
        return self._client.call("get_object", Key=self._place.prefix + key, **options)

    def _commit(self, method: str, full_key: str, **arguments: Any) -> None:
        self._client.call(method, commits=True, Key=full_key, IfNoneMatch="*", **arguments)

    def _put_in_parts(self, full_key: str, data: bytes) -> None:
        """Upload parts side by side, then commit them. They are discarded unless the commit may be done."""
        upload = {"UploadId": self._client.call("create_multipart_upload", Key=full_key)["UploadId"]}
        size = self._tuning.part_bytes

        def put_part(number: int) -> dict[str, Any]:
            body = data[(number - 1) * size : number * size]
            answer = self._client.call("upload_part", Key=full_key, PartNumber=number, Body=body, **upload)
            return {"PartNumber": number, "ETag": answer["ETag"]}

        commit_sent = False
        try:
            with ThreadPoolExecutor(self._tuning.parts_at_once) as pool:
                parts = list(pool.map(put_part, range(1, -(-len(data) // size) + 1)))
            commit_sent = True
            self._commit("complete_multipart_upload", full_key, MultipartUpload={"Parts": parts}, **upload)
        except BaseException as error:
            if not commit_sent or (isinstance(error, S3Failed) and not error.may_be_done):
                with suppress(S3Failed):
                    self._client.call("abort_multipart_upload", Key=full_key, **upload)
            raise

    @contextmanager
    def _asking(self, doing: str, key: str) -> Iterator[None]:
        """Whatever S3 failed with inside becomes an error of ours."""
        try:
            yield
        except S3Failed as failed:
            if failed.fault.code == NO_KEY:
                raise absent(key, self.url) from None
            if failed.fault.code == EXISTS:
                raise held(key) from None
            raise failed.as_error(self._place, doing=doing) from failed

    def _ascending(self, prefix: str, after: str, page: int) -> Iterator[str]:
        under, start = len(self._place.prefix), max(prefix, after)
        while True:
            answer = self._client.call(
                "list_objects_v2",
                Prefix=self._place.prefix + prefix,
                StartAfter=self._place.prefix + start,
                MaxKeys=page,
            )
            found = [each["Key"][under:] for each in answer.get("Contents", ())]
            yield from filter(is_key, found)
            # SeaweedFS says a full page is the last one when it ends with a folder marker.
            if len(found) < page and not answer["IsTruncated"]:
                return
            start = found[-1]

    def list(self, prefix: str, *, after: str | None = None, limit: int = 1000) -> list[str]:
        page = min(check_limit(limit), self._tuning.keys_per_page)
        with self._asking(f"listing {check_prefix(prefix)}", prefix):
            return list(islice(self._ascending(prefix, after or "", page), limit))
