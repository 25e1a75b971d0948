"""LocalStore: a folder on a disk, where hard links make creation atomic."""

from __future__ import annotations

import errno
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from raymaas.errors import InvalidInput, NotFound, OutcomeUnknown, Unavailable
from raymaas.store.contract import (
    SEGMENT,
    absent,
    check_key,
    check_limit,
    check_prefix,
    check_range,
    held,
    is_a_folder,
    lies_below_a_key,
)

if TYPE_CHECKING:
    import pyarrow.fs

_NO_SPACE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_NO_HARD_LINKS = (errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS)


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
        check_range(start, length)
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
                raise is_a_folder(key)
            if final.exists():  # Spares writing the bytes; the link below is what decides.
                raise held(key)
            _make_folder(final.parent)
            with self._temporary_file() as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
                os.link(file.name, final)
        except FileExistsError:
            raise held(key) from None
        except NotADirectoryError as error:
            if not self.root.is_dir():
                raise self._nothing_written(key, error) from error
            raise lies_below_a_key(key) from None
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
            raise absent(key, self.url) from None
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
                    if SEGMENT.fullmatch(entry.name)
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
        return list(islice(self._ascending(check_prefix(prefix), after or ""), check_limit(limit)))


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
