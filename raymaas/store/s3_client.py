"""Requests to S3 through s3fs, each tried a few times, so that their outcome is ours to tell.

s3fs's and botocore's own retries are off: what they hide is whether an earlier try was carried out. One is
left, in aiohttp: when a connection breaks before the answer, a GET, PUT or DELETE is sent once more (RFC 9112,
section 9.3.1). So even a first try may meet its own write, and be told that the key exists.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import s3fs
from fsspec.asyn import sync

from raymaas.store.s3_fault import S3Failed, fault_of
from raymaas.store.s3_place import S3Place

_MIB = 1024 * 1024


@dataclass(frozen=True)
class S3Tuning:
    """How an S3 store asks. Waits double from `first_wait_s`, and each is cut by a random share of itself."""

    tries: int = 8
    first_wait_s: float = 0.1
    longest_wait_s: float = 5.0
    connect_timeout_s: float = 5.0
    read_timeout_s: float = 20.0
    slowest_bytes_per_s: float = 512 * 1024  # a slower upload is given up, and tried again
    multipart_from_bytes: int = 64 * _MIB
    part_bytes: int = 16 * _MIB  # S3 takes 5 MiB or more, but for the last
    parts_at_once: int = 4
    keys_per_page: int = 1000  # S3 gives no more


class S3Client:
    """S3 as `place` names it, with the credentials of the usual AWS chain. Usable from any thread, after a fork too."""

    def __init__(
        self,
        place: S3Place,
        tuning: S3Tuning,
        *,
        random: Callable[[], float],
        sleep: Callable[[float], None],
    ) -> None:
        self._place = place
        self._tuning = tuning
        self._random = random
        self._sleep = sleep
        self._by_process: dict[int, s3fs.S3FileSystem] = {}

    def call(self, method: str, *, commits: bool = False, **arguments: Any) -> dict[str, Any]:
        """The answer to a request on the bucket, its body read. Raises S3Failed when no try is answered well.

        `commits`: that a try may have been carried out matters, and is told.
        """
        may_be_done, tried = False, 0
        while True:
            tried += 1
            try:
                return self._send(method, arguments)
            except Exception as error:
                fault = fault_of(error)
                if fault is None:
                    raise
                may_be_done = may_be_done or (commits and fault.may_be_done)
                if not fault.worth_retrying or tried >= self._tuning.tries:
                    raise S3Failed(fault, may_be_done=may_be_done) from error
            self._sleep(self._wait_s(tried))

    def _send(self, method: str, arguments: dict[str, Any]) -> dict[str, Any]:
        filesystem, tuning = self._filesystem(), self._tuning
        sending_s = len(arguments.get("Body", b"")) / tuning.slowest_bytes_per_s
        limit_s = tuning.connect_timeout_s + tuning.read_timeout_s + sending_s
        request = {"Bucket": self._place.bucket} | arguments
        answer: dict[str, Any] = sync(filesystem.loop, _exchange, filesystem, method, request, limit_s)
        return answer

    def _wait_s(self, tried: int) -> float:
        """Full jitter, after "Exponential Backoff And Jitter" (AWS Architecture Blog, 2015)."""
        return self._random() * min(
            self._tuning.longest_wait_s, self._tuning.first_wait_s * 2.0 ** (tried - 1)
        )

    def _filesystem(self) -> s3fs.S3FileSystem:
        # s3fs's event loop runs in a thread, which a forked child does not have.
        known = self._by_process.get(os.getpid())
        return known or self._by_process.setdefault(os.getpid(), self._make_filesystem())

    def _make_filesystem(self) -> s3fs.S3FileSystem:
        filesystem = s3fs.S3FileSystem(
            endpoint_url=self._place.endpoint_url,
            client_kwargs={"region_name": self._place.region} if self._place.region else {},
            config_kwargs={
                "connect_timeout": self._tuning.connect_timeout_s,
                "read_timeout": self._tuning.read_timeout_s,
                "max_pool_connections": 32,
                "retries": {"total_max_attempts": 1, "mode": "standard"},
            }
            # A server of one's own seldom has a DNS name for each bucket.
            | ({"s3": {"addressing_style": "path"}} if self._place.endpoint_url else {}),
            use_listings_cache=False,
            skip_instance_cache=True,
        )
        filesystem.retries = 1
        return filesystem


async def _exchange(
    filesystem: s3fs.S3FileSystem, method: str, request: dict[str, Any], limit_s: float
) -> dict[str, Any]:
    await filesystem.set_session()
    # aiohttp's own timeouts do not run while it waits for "100 Continue".
    answer: dict[str, Any] = await asyncio.wait_for(filesystem._call_s3(method, **request), limit_s)
    if "Body" in answer:
        async with answer["Body"] as body:
            answer["Body"] = await body.read()
    return answer
