"""The store: bytes at keys, in a folder (later a bucket), with one primitive to build on, create-if-absent.

A key is one or more segments joined by '/', each `[A-Za-z0-9][A-Za-z0-9._@=-]*`, and is never also a folder.
A prefix is '' or a folder: a key followed by '/'. What is created is whole or absent, and never changes
afterwards. Keys list in ascending order of the whole key as bytes, which is the order S3 has.
"""

from __future__ import annotations

import errno
import os
import re
import secrets
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Protocol
from urllib.parse import unquote, urlsplit

from raymaas.errors import AlreadyExists, InvalidInput, NotFound, OutcomeUnknown, Unavailable

if TYPE_CHECKING:
    import pyarrow.fs

_SEGMENT = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@=-]{0,199}")
_MAX_KEY_CHARACTERS = 900  # S3 allows 1024 bytes, and a store may lie below a prefix of its bucket.
_NO_SPACE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_NO_HARD_LINKS = (errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS)


class Store(Protocol):
    """What every store promises. Methods may be called from any thread, and raise InvalidInput for a bad key.

    Every method raises Unavailable when the store cannot be asked; nothing was done then.
    """

    @property
    def url(self) -> str:
        """Where it is, in the words `open_store` reads."""
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

        Raises AlreadyExists when the key is held (by oneself, if a reply was lost below: compare what is
        there), Unavailable when nothing was written, and OutcomeUnknown when it may or may not have been.
        """
        ...

    def first(self, prefix: str) -> str | None:
        """The smallest key under `prefix`; None when there is none."""
        ...

    def children(self, prefix: str) -> list[str]:
        """Names of the folders directly under `prefix` that hold at least one key, ascending."""
        ...

    def delete(self, key: str) -> None:
        """Afterwards nothing is at `key`; silent when nothing was."""
        ...

    def now(self) -> datetime:
        """The store's own clock, aware and in UTC: the only one that all who share the store agree on."""
        ...

    def arrow_filesystem(self) -> tuple[pyarrow.fs.FileSystem, str]:
        """A pyarrow file system over the same bytes, and the path of this store's root in it.

        For reading Parquet and for Ray Train's checkpoints. Never commit through it: it overwrites.
        """
        ...

    # Last in every store, so that `list[...]` in the signatures above means the builtin.
    def list(self, prefix: str, *, after: str | None = None, limit: int = 1000) -> list[str]:
        """Up to `limit` whole keys under `prefix`, ascending, from the first greater than `after`.

        Fewer than `limit` means there are no more.
        """
        ...


class LocalStore:
    """A folder on one machine's disk, or on a disk shared by machines if it has hard links.

    A key appears by `link(2)` of a file already written and synced, which fails if the key is held: so
    creation is atomic, and a reader sees all of a file or nothing. Temporary files lie in a hidden folder
    beside the keys; a crash may leave some there, and nothing reads them. Listing reads whole folders: its
    time grows with their entries.
    """

    def __init__(self, root: Path) -> None:
        self.root = Path(os.path.abspath(root))

    def __repr__(self) -> str:
        return f"LocalStore({str(self.root)!r})"

    @property
    def url(self) -> str:
        return self.root.as_uri()

    def read(self, key: str) -> bytes:
        with self._reading(key) as file:
            return file.read()

    def read_range(self, key: str, *, start: int, length: int) -> bytes:
        _check_range(start, length)
        with self._reading(key) as file:
            file.seek(start)
            return file.read(length)

    def size(self, key: str) -> int:
        with self._reading(key) as file:
            return os.fstat(file.fileno()).st_size

    def exists(self, key: str) -> bool:
        try:
            self.size(key)
        except NotFound:
            return False
        return True

    def create(self, key: str, data: bytes) -> None:
        final = self.root / check_key(key)
        try:
            if final.is_dir():
                raise _a_folder(key)
            if final.exists():  # Spares writing the bytes; the link below is what decides.
                raise _held(key)
            _make_folder(final.parent)
            with self._temporary_file() as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
                os.link(file.name, final)
        except FileExistsError:
            raise _held(key) from None
        except NotADirectoryError as error:
            if not self.root.is_dir():
                raise self._nothing_written(key, error) from error
            raise InvalidInput(f"{key!r} cannot be a key: a part of its path is a key already") from None
        except OSError as error:
            raise self._nothing_written(key, error) from error
        try:
            _sync_folder(final.parent)
        except OSError as error:
            raise OutcomeUnknown(
                f"{key} is in {self.root} but may not survive a power loss ({error.strerror}); read it back"
            ) from error

    def first(self, prefix: str) -> str | None:
        return next(self._ascending(check_prefix(prefix)), None)

    def children(self, prefix: str) -> list[str]:
        folders = [name for name in self._entries(check_prefix(prefix)) if name.endswith("/")]
        return sorted(name[len(prefix) : -1] for name in folders if next(self._ascending(name), None))

    def delete(self, key: str) -> None:
        if not self.exists(key):
            return
        path = self.root / key
        try:
            path.unlink(missing_ok=True)
            _sync_folder(path.parent)
        except OSError as error:
            raise OutcomeUnknown(
                f"deleting {key} from {self.root} failed: {error.strerror}; try again"
            ) from error

    def now(self) -> datetime:
        """The file system's clock. It moves in ticks of a few milliseconds, so two moments may be equal."""
        try:
            with self._temporary_file() as file:
                microseconds = os.fstat(file.fileno()).st_mtime_ns // 1000
        except OSError as error:
            raise self._nothing_written("a temporary file", error) from error
        return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=microseconds)

    def arrow_filesystem(self) -> tuple[pyarrow.fs.FileSystem, str]:
        import pyarrow.fs

        return pyarrow.fs.LocalFileSystem(), str(self.root)

    @contextmanager
    def _reading(self, key: str) -> Iterator[BinaryIO]:
        path = self.root / check_key(key)
        try:
            with path.open("rb") as file:
                yield file
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
            raise _absent(key, self.url) from None
        except OSError as error:
            raise Unavailable(f"{key} in {self.root} cannot be read: {error.strerror}; try again") from error

    @contextmanager
    def _temporary_file(self) -> Iterator[BinaryIO]:
        """A new file on the store's disk, gone afterwards. Its folder is hidden: no key can name it."""
        folder = self.root / ".incoming"
        _make_folder(folder)
        path = folder / secrets.token_hex(16)
        try:
            with path.open("xb") as file:
                yield file
        finally:
            with suppress(OSError):  # The outcome is decided by now; a file left over does no harm.
                path.unlink()

    def _ascending(self, folder: str, after: str = "") -> Iterator[str]:
        """Keys under `folder` greater than `after`. Whole subtrees before `after` are not opened."""
        # A folder sorts as 'name/', so that 'a-b' comes before what is in 'a/', as it does among whole keys.
        for name in sorted(self._entries(folder)):
            if not name.endswith("/"):
                if name > after:
                    yield name
            elif name > after or after.startswith(name):
                yield from self._ascending(name, after)

    def _entries(self, folder: str) -> list[str]:
        """Keys and folders (with '/') directly in `folder`, but for names that cannot be part of a key."""
        try:
            with os.scandir(self.root / folder) as entries:
                return [
                    folder + entry.name + ("/" if entry.is_dir() else "")
                    for entry in entries
                    if _SEGMENT.fullmatch(entry.name)
                ]
        except (FileNotFoundError, NotADirectoryError):
            return []
        except OSError as error:
            raise Unavailable(
                f"{folder} in {self.root} cannot be listed: {error.strerror}; try again"
            ) from error

    def _nothing_written(self, key: str, error: OSError) -> Unavailable | InvalidInput:
        if error.errno in _NO_SPACE:
            return Unavailable(
                f"no space left in {self.root} for {key}; nothing was written. Free some and try again"
            )
        if error.filename2 is not None and error.errno in _NO_HARD_LINKS:  # Only link(2) has two names.
            return InvalidInput(
                f"{self.root} lies on a file system without hard links; put the store on another disk"
            )
        return Unavailable(f"{key} cannot be written to {self.root}: {error.strerror}; nothing was written")

    def list(self, prefix: str, *, after: str | None = None, limit: int = 1000) -> list[str]:
        return list(islice(self._ascending(check_prefix(prefix), after or ""), _check_limit(limit)))


class MemoryStore:
    """A store inside one process, for tests; `clock` is its clock."""

    def __init__(self, clock: Callable[[], datetime]) -> None:
        self._clock = clock
        self._held: dict[str, bytes] = {}
        self._lock = threading.Lock()

    @property
    def url(self) -> str:
        return "memory://"

    def read(self, key: str) -> bytes:
        try:
            return self._held[check_key(key)]
        except KeyError:
            raise _absent(key, self.url) from None

    def read_range(self, key: str, *, start: int, length: int) -> bytes:
        _check_range(start, length)
        return self.read(key)[start : start + length]

    def size(self, key: str) -> int:
        return len(self.read(key))

    def exists(self, key: str) -> bool:
        return check_key(key) in self._held

    def create(self, key: str, data: bytes) -> None:
        segments = check_key(key).split("/")
        with self._lock:
            if key in self._held:
                raise _held(key)
            if any(other.startswith(f"{key}/") for other in self._held):
                raise _a_folder(key)
            if any("/".join(segments[:n]) in self._held for n in range(1, len(segments))):
                raise InvalidInput(f"{key!r} cannot be a key: a part of its path is a key already")
            self._held[key] = bytes(data)

    def first(self, prefix: str) -> str | None:
        return next(iter(self.list(prefix, limit=1)), None)

    def children(self, prefix: str) -> list[str]:
        rests = (key[len(prefix) :] for key in self._under(prefix))
        return sorted({rest.partition("/")[0] for rest in rests if "/" in rest})

    def delete(self, key: str) -> None:
        with self._lock:
            self._held.pop(check_key(key), None)

    def now(self) -> datetime:
        return self._clock().astimezone(UTC)

    def arrow_filesystem(self) -> tuple[pyarrow.fs.FileSystem, str]:
        raise InvalidInput("a memory store lives inside one process; Arrow and Ray Train need one at file://")

    def _under(self, prefix: str) -> list[str]:
        check_prefix(prefix)
        with self._lock:
            return sorted(key for key in self._held if key.startswith(prefix))

    def list(self, prefix: str, *, after: str | None = None, limit: int = 1000) -> list[str]:
        return [key for key in self._under(prefix) if key > (after or "")][: _check_limit(limit)]


def open_store(url: str) -> Store:
    """The store at `url`: `file:///path`, or a path, absolute or relative, with ~ for the home folder.

    Nothing is written by opening it. Raises InvalidInput for what this release cannot store on.
    """
    scheme, separator, _ = url.partition("://")
    if not separator:
        return _local_store(url, url)
    match scheme:
        case "file":
            parts = urlsplit(url)
            if parts.netloc not in ("", "localhost"):
                raise InvalidInput(
                    f"{url!r} names the host {parts.netloc!r}; write file:///{parts.netloc}{parts.path}"
                )
            return _local_store(unquote(parts.path), url)
        case "memory":
            raise InvalidInput(
                "memory:// is invisible to every other process of the cluster; give a folder instead"
            )
        case "s3":
            raise InvalidInput(
                f"{url}: this release stores on file:// only; S3 comes next. Give a folder instead"
            )
    raise InvalidInput(f"{url!r} has the unknown scheme {scheme!r}; known is file://, or give a folder")


def check_key(key: str) -> str:
    """`key` if it is one; else InvalidInput with the grammar."""
    if len(key) > _MAX_KEY_CHARACTERS or not all(_SEGMENT.fullmatch(part) for part in key.split("/")):
        raise InvalidInput(
            f"{key[:100]!r} is not a key: use segments of letters, digits and . _ @ = - that begin with a"
            f" letter or digit, at most 200 characters each and {_MAX_KEY_CHARACTERS} in all, joined by '/'"
        )
    return key


def check_prefix(prefix: str) -> str:
    """`prefix` if it is '' or a folder such as 'models/digits/'; else InvalidInput."""
    if prefix:
        check_key(prefix.removesuffix("/"))
        if not prefix.endswith("/"):
            raise InvalidInput(f"{prefix!r} is not a folder; write {prefix + '/'!r}")
    return prefix


def _check_range(start: int, length: int) -> None:
    if start < 0 or length < 0:
        raise InvalidInput(
            f"a range begins at 0 or later and is not negative, got start {start} and length {length}"
        )


def _check_limit(limit: int) -> int:
    if limit < 1:
        raise InvalidInput(f"limit must be at least 1, got {limit}")
    return limit


def _local_store(path: str, given: str) -> LocalStore:
    if not path:
        raise InvalidInput(f"{given!r} names no folder; write file:///path/to/folder")
    root = Path(path).expanduser()
    if root.exists() and not root.is_dir():
        raise InvalidInput(f"{given!r} is a file; a store is a folder")
    return LocalStore(root)


def _make_folder(path: Path) -> None:
    """Make `path` and what is missing above it, durably. NotADirectoryError if a file is in the way."""
    if path.is_dir():
        return
    _make_folder(path.parent)
    try:
        path.mkdir()
    except FileExistsError:
        if not path.is_dir():
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(path)) from None
    _sync_folder(path.parent)


def _sync_folder(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _absent(key: str, url: str) -> NotFound:
    return NotFound(f"{key} does not exist in the store at {url}")


def _held(key: str) -> AlreadyExists:
    return AlreadyExists(f"{key} exists already; what a key holds never changes")


def _a_folder(key: str) -> InvalidInput:
    return InvalidInput(f"{key!r} cannot be a key: it is a folder of other keys")
