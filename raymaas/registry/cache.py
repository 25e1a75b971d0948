"""The blob cache: files of versions on a machine's own disk, so that a second start reads only the manifest."""

from __future__ import annotations

import logging
import os
import secrets
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from raymaas.specs.base import sha256_hex
from raymaas.specs.versions import FileEntry

log = logging.getLogger("raymaas.cache")


@dataclass(frozen=True)
class BlobCache:
    """A folder of blobs under their SHA-256, of at most `limit_bytes`, shared by all processes of a machine.

    It holds nothing that is not in the store, so anyone may delete it at any time. What is in it is verified with
    each use. The blobs used longest ago make room for new ones.
    """

    folder: Path
    limit_bytes: int

    def get(self, entry: FileEntry) -> bytes | None:
        """The blob, whole; None when it is not here. A damaged one is removed."""
        path = self._path(entry.sha256)
        try:
            data = path.read_bytes()
        except OSError:
            return None
        if len(data) != entry.bytes or sha256_hex(data) != entry.sha256:
            log.warning("%s is damaged; it is read from the store again", path)
            path.unlink(missing_ok=True)
            return None
        with suppress(OSError):  # Only its place in the order of use would be lost.
            os.utime(path)
        return data

    def put(self, entry: FileEntry, data: bytes) -> None:
        """Keep `data`, which is verified, if it fits; never fails.

        A disk that is full or read-only costs the next start a read from the store, and a warning that says so.
        """
        if entry.bytes > self.limit_bytes:
            return
        final = self._path(entry.sha256)
        half = final.with_name(f".{secrets.token_hex(8)}")
        try:
            self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._make_room(entry.bytes)
            half.write_bytes(data)
            half.rename(final)
        except OSError as error:
            log.warning("%s cannot keep a file of %d bytes: %s", self.folder, entry.bytes, error.strerror)
            with suppress(OSError):
                half.unlink(missing_ok=True)

    def _make_room(self, needed: int) -> None:
        held = []
        for path in self.folder.iterdir():
            with suppress(FileNotFoundError):  # Another process made room as well.
                status = path.stat()
                held.append((status.st_mtime_ns, status.st_size, path))
        excess = sum(size for _, size, _ in held) + needed - self.limit_bytes
        for _, size, path in sorted(held):
            if excess <= 0:
                return
            path.unlink(missing_ok=True)
            excess -= size

    def _path(self, sha256: str) -> Path:
        return self.folder / sha256
