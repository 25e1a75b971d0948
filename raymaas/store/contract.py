"""The store's contract: bytes at keys, with one primitive to build on, create-if-absent; and what a key is.

A key is one or more segments joined by '/', each `[A-Za-z0-9][A-Za-z0-9._@=-]*`. A prefix is '' or a folder: a
key followed by '/'. What is created is whole or absent, and never changes afterwards.

A key is never also a folder of other keys, and nothing in raymaas asks for it. A disk and the memory store
refuse it with InvalidInput; S3 has no folders to refuse it by: AWS would keep both keys, other servers may not.
"""

from __future__ import annotations

import re
from datetime import datetime
from typing import TYPE_CHECKING, Protocol

from raymaas.errors import AlreadyExists, InvalidInput, NotFound

if TYPE_CHECKING:
    import pyarrow.fs

SEGMENT = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@=-]{0,199}")
MAX_KEY_CHARACTERS = 900  # S3 allows 1024 bytes, and a store may lie below a prefix of its bucket.


class Store(Protocol):
    """What every store promises. Methods may be called from any thread, and raise InvalidInput for a bad key.

    Every method raises Unavailable when the store cannot be asked, and Denied when it does not let us in;
    nothing was done then.
    """

    @property
    def url(self) -> str:
        """Where it is, in the words `open_store` reads. It holds no credentials."""
        ...

    def read(self, key: str) -> bytes:
        """All bytes at `key`. Raises NotFound."""
        ...

    def read_range(self, key: str, *, start: int, length: int) -> bytes:
        """Up to `length` bytes from offset `start`, cut at the end and empty past it. Raises NotFound."""
        ...

    def size(self, key: str) -> int:
        """Bytes at `key`. Raises NotFound."""
        ...

    def exists(self, key: str) -> bool: ...

    def create(self, key: str, data: bytes) -> None:
        """Write `data` at `key` if nothing is there, durably. Of those who race for it, at most one succeeds.

        Raises AlreadyExists when the key is held: perhaps by oneself, if a reply was lost below, so compare
        what is there. Unavailable or Denied when nothing was written, and OutcomeUnknown when it may or may
        not have been, or may yet be.
        """
        ...

    def first(self, prefix: str) -> str | None:
        """The first key that `list` would give; None when there is none."""
        ...

    def children(self, prefix: str) -> list[str]:
        """Names of the folders directly under `prefix`, ascending: all that hold a key.

        A store may also name some that hold none any more.
        """
        ...

    def delete(self, key: str) -> None:
        """Afterwards nothing is at `key`; silent when nothing was. Raises OutcomeUnknown; then delete again."""
        ...

    def now(self) -> datetime:
        """The store's own clock, aware and in UTC: the only one that all who share the store agree on.

        It moves in ticks: some milliseconds on a disk, a whole second on S3.
        """
        ...

    def arrow_filesystem(self) -> tuple[pyarrow.fs.FileSystem, str]:
        """A pyarrow file system over the same bytes, and the path of this store's root in it.

        For reading Parquet and for Ray Train's checkpoints. Never commit through it: it overwrites.
        """
        ...

    # Last in every store, so that `list[...]` in the signatures above means the builtin.
    def list(self, prefix: str, *, after: str | None = None, limit: int = 1000) -> list[str]:
        """Up to `limit` whole keys under `prefix`, from the first that follows `after`, which is no folder.

        The keys of one folder ascend by their bytes. So do those of several folders, unless a folder's name
        is the beginning of a neighbour's, as with `a/` and `a-b/`: their order is then the server's own, and
        fixed. Fewer than `limit` means there are no more.
        """
        ...


def check_key(key: str) -> str:
    """`key` if it is one; else InvalidInput with the grammar."""
    if not is_key(key):
        raise InvalidInput(
            f"{key[:100]!r} is not a key: use segments of letters, digits and . _ @ = - that begin with a"
            f" letter or digit, at most 200 characters each and {MAX_KEY_CHARACTERS} in all, joined by '/'"
        )
    return key


def is_key(text: str) -> bool:
    return len(text) <= MAX_KEY_CHARACTERS and all(SEGMENT.fullmatch(part) for part in text.split("/"))


def check_prefix(prefix: str) -> str:
    """`prefix` if it is '' or a folder such as 'models/digits/'; else InvalidInput."""
    if prefix:
        check_key(prefix.removesuffix("/"))
        if not prefix.endswith("/"):
            raise InvalidInput(f"{prefix!r} is not a folder; write {prefix + '/'!r}")
    return prefix


def check_range(start: int, length: int) -> None:
    """InvalidInput unless `length` bytes from `start` can be asked for."""
    if start < 0 or length < 0:
        raise InvalidInput(
            f"a range begins at 0 or later and is not negative, got start {start} and length {length}"
        )


def check_limit(limit: int) -> int:
    """`limit` if a listing can be that long; else InvalidInput."""
    if limit < 1:
        raise InvalidInput(f"limit must be at least 1, got {limit}")
    return limit


def absent(key: str, url: str) -> NotFound:
    return NotFound(f"{key} does not exist in the store at {url}")


def held(key: str) -> AlreadyExists:
    return AlreadyExists(f"{key} exists already; what a key holds never changes")


def is_a_folder(key: str) -> InvalidInput:
    return InvalidInput(f"{key!r} cannot be a key: it is a folder of other keys")


def lies_below_a_key(key: str) -> InvalidInput:
    return InvalidInput(f"{key!r} cannot be a key: a part of its path is a key already")
