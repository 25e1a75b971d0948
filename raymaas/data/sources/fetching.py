"""Files known by their digest: found in a folder the user has, in the cache, or downloaded into it."""

from __future__ import annotations

import hashlib
import http.client
import secrets
import urllib.request
from dataclasses import dataclass
from pathlib import Path

from raymaas.data.sources.base import DataFiles
from raymaas.data.sources.gzipped import unpacked
from raymaas.errors import IntegrityError, InvalidInput, NotFound, Unavailable

_CHUNK_BYTES = 1 << 20
_SILENCE_S = 30.0  # of a mirror, until it is given up


@dataclass(frozen=True)
class KnownFile:
    """A file of a named set, perhaps gzipped: bytes and MD5 are those of its content."""

    dataset: str
    name: str
    bytes: int
    md5: str


def fetch(file: KnownFile, files: DataFiles, *, mirror: str) -> bytes:
    """The verified content of `file`: from `files.folder`, else the cache, else `mirror`, and then kept in the cache.

    Raises IntegrityError when what is found is not it, NotFound when it is nowhere and may not be downloaded,
    and Unavailable when the mirror does not give it.
    """
    cached = files.cache / file.dataset / file.name if files.cache else None
    given = [files.folder / file.dataset / file.name, files.folder / file.name] if files.folder else []
    for path in [*given, *([cached] if cached else [])]:
        if path.is_file():
            return verified(file, path.read_bytes(), source=str(path))
    if not mirror or cached is None:
        places = ", ".join(str(path) for path in given) or "a folder that RAYMAAS_DATASETS names"
        raise NotFound(
            f"{file.name} of data set {file.dataset!r} is not here and nothing is downloaded; put it at {places}"
        )
    url = f"{mirror.rstrip('/')}/{file.name}"
    packed = _download(file, url, files)
    content = verified(file, packed, source=url)
    _keep(cached, packed)
    return content


def verified(file: KnownFile, data: bytes, *, source: str) -> bytes:
    """The content of `data`, which is `file`, perhaps gzipped. Raises IntegrityError with what it should have been."""
    try:
        content = unpacked(data, source=source, at_most_bytes=file.bytes + 1)
    except InvalidInput as error:
        raise IntegrityError(str(error)) from None
    found = hashlib.md5(content, usedforsecurity=False).hexdigest()
    if found != file.md5:
        raise IntegrityError(
            f"{source} is not the {file.name} of data set {file.dataset!r}: the MD5 of its content should be "
            f"{file.md5} and is {found}; remove or replace it"
        )
    return content


def _download(file: KnownFile, url: str, files: DataFiles) -> bytes:
    files.say(f"downloading {url}")
    received = bytearray()
    told_quarters = 0
    try:
        with urllib.request.urlopen(url, timeout=_SILENCE_S) as answer:
            total = int(answer.headers.get("Content-Length") or 0)
            while chunk := answer.read(_CHUNK_BYTES):
                received += chunk
                if len(received) > file.bytes + _CHUNK_BYTES:
                    break  # longer than its content: another file, as its digest will say
                quarters = 4 * len(received) // total if total else 0
                if quarters > told_quarters:
                    told_quarters = quarters
                    files.say(f"{file.name}: {25 * quarters} % of {total:,} bytes")
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise Unavailable(
            f"{url} cannot be downloaded: {str(error).strip('<>')}; try again, set another mirror, or put the file "
            f"into a folder as {file.dataset}/{file.name} and set RAYMAAS_DATASETS to that folder"
        ) from error
    return bytes(received)


def _keep(path: Path, data: bytes) -> None:
    half = path.with_name(f".{secrets.token_hex(8)}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            half.write_bytes(data)
            half.rename(path)
        finally:
            half.unlink(missing_ok=True)
    except OSError as error:
        raise Unavailable(
            f"{path} cannot be kept: {error.strerror}; free some space, or set RAYMAAS_HOME"
        ) from error
