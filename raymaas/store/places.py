"""Reading what a user names by one text: a file or folder on this machine, or below the URL of a store."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from raymaas.errors import Denied, InvalidInput, NotFound, Unavailable
from raymaas.store.contract import Store
from raymaas.store.opening import open_store

if TYPE_CHECKING:
    import pyarrow

_PAGE = 1000


def read_place(place: str) -> bytes:
    """All bytes of the file at `place`: a path, file:///path, or s3://bucket/key with the fields of a store's URL.

    Raises NotFound when there is none, InvalidInput for what names no file.
    """
    path = _local(place)
    if path is None:
        above, name = _above(place)
        return above.read(name)
    try:
        return path.read_bytes()
    except IsADirectoryError:
        raise _is_folder(path) from None
    except OSError as error:
        raise _unreadable(path, error) from None


def read_folder(place: str) -> Iterator[tuple[str, bytes]]:
    """Path below `place` and bytes of every file there, in the order of the paths; hidden ones are left out.

    Raises NotFound when there is no such folder.
    """
    root = _local(place)
    if root is None:
        yield from _read_store(open_store(place), place)
        return
    if not root.is_dir():
        raise _absent(root)
    below = {path.relative_to(root).as_posix(): path for path in root.rglob("*") if path.is_file()}
    for name in sorted(name for name in below if not any(part.startswith(".") for part in name.split("/"))):
        try:
            yield name, below[name].read_bytes()
        except OSError as error:
            raise _unreadable(below[name], error) from None


@dataclass(frozen=True)
class PlacedFile:
    """A file that can be opened, as often as one likes, and read without having all of it in memory."""

    place: str
    open: Callable[[], pyarrow.NativeFile]


def file_at(place: str) -> PlacedFile:
    """The file at `place`. Raises as `read_place`."""
    path = _local(place)
    if path is None:
        above, name = _above(place)
        if not above.exists(name):
            raise NotFound(f"{place!r} does not exist; check the bucket and the key")
        return PlacedFile(place, partial(_open_stored, above, name))
    if path.is_dir():
        raise _is_folder(path)
    return PlacedFile(str(path), partial(_open_local, path))


def files_at(place: str) -> list[PlacedFile]:
    """The file at `place`, or those in the folder there, in the order of their paths; hidden ones are left out.

    Raises NotFound when there is none.
    """
    root = _local(place)
    if root is None:
        return _files_in_store(place)
    if not root.exists():
        raise _absent(root)
    paths = sorted(root.rglob("*")) if root.is_dir() else [root]
    shown = (path for path in paths if not any(p.startswith(".") for p in path.relative_to(root).parts))
    return [PlacedFile(str(path), partial(_open_local, path)) for path in shown if path.is_file()]


def _above(place: str) -> tuple[Store, str]:
    """The store that is all that lies beside a key, and the key's last part."""
    where, question, fields = place.partition("?")
    folder, _, name = where.rpartition("/")
    return open_store(folder + question + fields), name


def _files_in_store(place: str) -> list[PlacedFile]:
    where, question, fields = place.partition("?")
    folder, _, name = where.removesuffix("/").rpartition("/")
    if not folder.endswith(":/"):  # a bucket has nothing above it
        above = open_store(folder + question + fields)
        if above.exists(name):
            return [PlacedFile(place, partial(_open_stored, above, name))]
    below = open_store(place)
    found: list[PlacedFile] = []
    last: str | None = None
    while page := below.list("", after=last, limit=_PAGE):
        found += [
            PlacedFile(f"{where.removesuffix('/')}/{key}", partial(_open_stored, below, key)) for key in page
        ]
        last = page[-1]
    if not found:
        raise NotFound(f"{place!r} holds no files; check the bucket and the prefix")
    return found


def _open_local(path: Path) -> pyarrow.NativeFile:
    import pyarrow

    try:
        return pyarrow.OSFile(str(path))
    except OSError as error:
        raise _unreadable(path, error) from None


def _open_stored(store: Store, key: str) -> pyarrow.NativeFile:
    filesystem, root = store.arrow_filesystem()
    return filesystem.open_input_file(f"{root}/{key}")


def _read_store(store: Store, place: str) -> Iterator[tuple[str, bytes]]:
    last, empty = None, True
    while page := store.list("", after=last, limit=_PAGE):
        for key in page:
            yield key, store.read(key)
        last, empty = page[-1], False
    if empty:
        raise NotFound(f"{place!r} holds no files; check the bucket and the prefix")


def _local(place: str) -> Path | None:
    """The absolute path that `place` names on this machine; None when it lies elsewhere."""
    if "://" not in place:
        return Path(place).expanduser().absolute()
    parts = urlsplit(place)
    if parts.scheme != "file":
        return None
    if parts.netloc not in ("", "localhost"):
        raise InvalidInput(f"{place!r} names the host {parts.netloc!r}; write file:///path/to/file")
    return Path(unquote(parts.path))


def _is_folder(path: Path) -> InvalidInput:
    return InvalidInput(f"{str(path)!r} is a folder; name a file in it")


def _absent(path: Path) -> NotFound:
    return NotFound(
        f"{str(path)!r} does not exist where the job runs; give an absolute path of that machine or an s3:// URL"
    )


def _unreadable(path: Path, error: OSError) -> NotFound | Denied | Unavailable:
    if isinstance(error, FileNotFoundError | NotADirectoryError):
        return _absent(path)
    if isinstance(error, PermissionError):
        return Denied(f"{str(path)!r} may not be read by this user; change its permissions")
    return Unavailable(f"{str(path)!r} cannot be read: {error.strerror}; try again")
