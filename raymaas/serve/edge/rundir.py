"""RunDir: the private folder of one edge, and how its files are replaced whole."""

from __future__ import annotations

import fcntl
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from raymaas.errors import InvalidInput, Refused

# sun_path holds 108 bytes, one of them the closing NUL.
_MAX_SOCKET_PATH_BYTES = 107

CONFIG_NAME = "haproxy.cfg"
MAP_NAME = "routes.map"
KEYS_MAP_NAME = "keys.map"
SOCKET_NAME = "admin.sock"


@dataclass(frozen=True)
class RunDir:
    """Where an edge keeps what a restart needs: mode 0700, and every file in it 0600.

    HAProxy runs with this folder as its working directory, so its configuration names files without a path.
    """

    path: Path

    @classmethod
    def prepare(cls, path: Path) -> RunDir:
        """The folder at `path`, made if absent and closed to others.

        Raises InvalidInput when the admin socket's path would be longer than a unix socket allows.
        """
        path = path.absolute()
        length = len(os.fsencode(path / SOCKET_NAME))
        if length > _MAX_SOCKET_PATH_BYTES:
            raise InvalidInput(
                f"the edge's socket {path / SOCKET_NAME} has a path of {length} bytes and "
                f"{_MAX_SOCKET_PATH_BYTES} are allowed; choose a shorter run directory"
            )
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        path.chmod(0o700)
        return cls(path)

    @property
    def config(self) -> Path:
        return self.path / CONFIG_NAME

    @property
    def map(self) -> Path:
        return self.path / MAP_NAME

    @property
    def keys_map(self) -> Path:
        return self.path / KEYS_MAP_NAME

    @property
    def socket(self) -> Path:
        return self.path / SOCKET_NAME

    @property
    def process(self) -> Path:
        return self.path / "process.json"

    @property
    def table(self) -> Path:
        return self.path / "table.json"

    @property
    def status(self) -> Path:
        return self.path / "status.json"

    @property
    def access_log(self) -> Path:
        return self.path / "access.log"

    @property
    def error_log(self) -> Path:
        return self.path / "haproxy.log"

    def identity(self) -> str:
        """Tells this folder's edge from all others; the same for as long as the folder is there."""
        path = self.path / "identity"
        if (found := read_file(path)) is None:
            replace_file(path, found := secrets.token_hex(8).encode())
        return found.decode()

    @contextmanager
    def exclusive(self) -> Iterator[None]:
        """Hold the folder as its only agent; the kernel lets go when the process dies, however it dies.

        Raises Refused naming the agent that holds it.
        """
        lock = os.open(self.path / "agent.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                holder = os.pread(lock, 32, 0).decode().strip()
                raise Refused(
                    f"another edge agent (pid {holder or 'unknown'}) works in {self.path}; "
                    "stop it first or choose another run directory"
                ) from None
            os.ftruncate(lock, 0)
            os.pwrite(lock, str(os.getpid()).encode(), 0)
            yield
        finally:
            os.close(lock)


def replace_file(path: Path, content: bytes) -> None:
    """Make `content` the whole of `path`, mode 0600: a reader, or a crash, sees the old or the new file."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        with suppress(FileNotFoundError):
            temporary.unlink()
        raise


def read_file(path: Path) -> bytes | None:
    """The content of `path`, or None when there is none."""
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None
