"""A version as a folder: its files, `manifest.json` as it was sealed, and its card as README.md for people.

The folder is a stranger's until every byte was checked: nothing in it is followed, opened or believed that the
manifest does not name, and README.md is not read.
"""

from __future__ import annotations

import errno
import os
import secrets
import shutil
import stat
from pathlib import Path

from raymaas.errors import IntegrityError, InvalidInput, NotFound, OutcomeUnknown, Refused, Unavailable
from raymaas.exchange.identity import digest_of
from raymaas.exchange.parcel import Parcel
from raymaas.registry.card import render
from raymaas.specs.base import sha256_hex
from raymaas.specs.versions import FileEntry, ModelVersion
from raymaas.store import check_key

MANIFEST, CARD = "manifest.json", "README.md"

_MOST_MANIFEST_BYTES = 1 << 24


def write_folder(parcel: Parcel, directory: Path) -> None:
    """Afterwards `directory` holds the whole parcel, and not before: it appears in one rename.

    It must be absent or empty: else Refused. Raises Unavailable when it cannot be written; then nothing is
    left. Raises OutcomeUnknown when it is there but a power loss may take it. A process killed on the way leaves
    a hidden folder beside it, `.<name>.<random>`.
    """
    if MANIFEST in parcel.files:
        raise InvalidInput(
            f"a version with a file {MANIFEST!r} of its own cannot be exported; publish it renamed"
        )
    written = {CARD: render(parcel.manifest).encode(), **parcel.files, MANIFEST: parcel.sealed}
    final = Path(os.path.abspath(directory))
    beside = final.with_name(f".{final.name}.{secrets.token_hex(8)}")
    try:
        if final.exists() and not (final.is_dir() and not any(final.iterdir())):
            raise _taken(directory)
        final.parent.mkdir(parents=True, exist_ok=True)
        for name, data in written.items():
            _write(beside / name, data)
        for folder, _, _ in os.walk(beside):
            _sync(folder)
        _rename(beside, final)
    except OSError as error:
        raise Unavailable(f"{directory} cannot be written: {error.strerror}; nothing was exported") from error
    finally:
        shutil.rmtree(beside, ignore_errors=True)
    try:
        _sync(final.parent)
    except OSError as error:
        raise OutcomeUnknown(
            f"{directory} is written but may not survive a power loss ({error.strerror}); export it elsewhere"
        ) from error


def read_folder(directory: Path, *, digest: str | None = None) -> Parcel:
    """The parcel in `directory`, every file verified against the manifest, and the manifest against its digest.

    Whoever can write the folder can write a manifest with a right digest of its own; only a `digest` that came
    another way tells. Raises NotFound when there is no exported version, and IntegrityError when a file is
    missing, damaged, not named in the manifest, or no plain file.
    """
    root = Path(os.path.abspath(directory))
    found = _plain_files(root)
    if MANIFEST not in found:
        raise NotFound(f"{directory} has no {MANIFEST}; give a folder that `raymaas models export` wrote")
    sealed = _read(root / MANIFEST, at_most=_MOST_MANIFEST_BYTES)
    manifest = ModelVersion.unseal(sealed, source=str(directory / MANIFEST))
    if digest is not None and digest != digest_of(sealed):
        raise IntegrityError(
            f"{directory} holds another version: its digest is {digest_of(sealed)}, not {digest}"
        )
    _check_names(manifest)
    if missing := sorted(manifest.files.keys() - found):
        raise IntegrityError(f"{missing[0]} is missing in {directory}; export the version again")
    if extra := sorted(found - manifest.files.keys() - {MANIFEST, CARD}):
        raise IntegrityError(
            f"{extra[0]} in {directory} is not named in {MANIFEST}; remove it, or export again"
        )
    files = {name: _verified(root, name, entry) for name, entry in manifest.files.items()}
    return Parcel(sealed, manifest, files, origin=root.as_uri())


def _rename(beside: Path, final: Path) -> None:
    """What decides a race: a folder replaces an empty folder, and nothing else."""
    try:
        os.rename(beside, final)
    except OSError as error:
        if error.errno in (errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR):
            raise _taken(final) from None
        raise


def _taken(directory: Path) -> Refused:
    return Refused(f"{directory} is there and not empty; give another folder")


def _check_names(manifest: ModelVersion) -> None:
    for name in manifest.files:
        try:
            check_key(name)
        except InvalidInput as error:
            raise IntegrityError(f"{MANIFEST} names a file that cannot be one: {error}") from None
        if name == MANIFEST:
            raise IntegrityError(f"{MANIFEST} names itself as a file of the version; export it again")
    if manifest.weights_file not in manifest.files:
        raise IntegrityError(
            f"{MANIFEST} does not name the weights file {manifest.weights_file!r}; export it again"
        )


def _verified(root: Path, name: str, entry: FileEntry) -> bytes:
    data = _read(root / name, at_most=entry.bytes)
    if len(data) != entry.bytes or sha256_hex(data) != entry.sha256:
        raise IntegrityError(f"{name} in {root} is not what {MANIFEST} says; export the version again")
    return data


def _plain_files(root: Path) -> set[str]:
    """Every file below `root`, as the manifest would name it. Links are not followed but refused."""
    found, folders = set(), [root]
    try:
        while folders:
            with os.scandir(folders.pop()) as entries:
                for entry in entries:
                    if entry.is_dir(follow_symlinks=False):
                        folders.append(Path(entry.path))
                    elif entry.is_file(follow_symlinks=False):
                        found.add(Path(entry.path).relative_to(root).as_posix())
                    else:
                        what = "a link" if entry.is_symlink() else "no plain file"
                        raise IntegrityError(
                            f"{entry.path} is {what}; an exported version has plain files only"
                        )
    except (FileNotFoundError, NotADirectoryError):
        raise NotFound(f"{root} is not a folder; give one that `raymaas models export` wrote") from None
    except OSError as error:
        raise Unavailable(f"{root} cannot be read: {error.strerror}") from error
    return found


def _read(path: Path, *, at_most: int) -> bytes:
    """The file's bytes. Raises IntegrityError when it is longer, or became something else since it was listed."""
    try:
        # Not blocking: a named pipe put in its place would otherwise be waited for.
        opened = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        with os.fdopen(opened, "rb") as file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode) or status.st_size > at_most:
                raise IntegrityError(
                    f"{path} is longer than the manifest says, or no plain file; export it again"
                )
            return file.read(at_most)
    except OSError as error:
        raise IntegrityError(f"{path} cannot be read: {error.strerror}; export the version again") from error


def _write(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("xb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def _sync(folder: str | Path) -> None:
    opened = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)
