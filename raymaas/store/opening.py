"""Opening a store by its URL."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import unquote, urlsplit

from raymaas.errors import InvalidInput
from raymaas.store.contract import Store
from raymaas.store.local import LocalStore


def open_store(url: str) -> Store:
    """The store at `url`:

        file:///path                            a folder; so is a path, absolute or relative, ~ for the home folder
        s3://bucket/prefix                      a bucket on AWS, or where AWS_ENDPOINT_URL points
        s3://bucket/prefix?endpoint_url=http://host:port&region=us-east-1

    Nothing is written or asked by opening it. Raises InvalidInput for what cannot be stored on.
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
            # Here, so that a store on a disk does not wait half a second for s3fs.
            from raymaas.store.s3 import S3Store
            from raymaas.store.s3_place import S3Place

            return S3Store(S3Place.parse(url))
    raise InvalidInput(
        f"{url[:100]!r} has the unknown scheme {scheme!r}; known are file:// and s3://, or give a folder"
    )


def _local_store(path: str, given: str) -> LocalStore:
    if not path:
        raise InvalidInput(f"{given!r} names no folder; write file:///path/to/folder")
    root = Path(path).expanduser()
    if root.exists() and not root.is_dir():
        raise InvalidInput(f"{given!r} is a file; a store is a folder")
    return LocalStore(root)
