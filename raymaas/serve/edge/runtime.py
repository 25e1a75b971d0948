"""RuntimeSocket: HAProxy's admin socket, spoken one command at a time."""

from __future__ import annotations

import re
import socket
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from raymaas.errors import Unavailable
from raymaas.serve.edge.config import FELL_BACK_TABLE
from raymaas.serve.edge.rundir import MAP_NAME
from raymaas.serve.edge.servers import Server, parse_servers

# A command must fit HAProxy's own buffer, of which this is a fraction.
_COMMAND_BYTES = 8 * 1024


class RuntimeSocket:
    """The commands an agent needs. Each opens its own connection, so a reload in between does not matter.

    Every method raises Unavailable when HAProxy cannot be reached or refuses; the message holds its words.
    """

    def __init__(self, path: Path, *, timeout_s: float = 5.0) -> None:
        self._path = path
        self._timeout_s = timeout_s

    def pid(self) -> int:
        """Which process answers on this socket."""
        found = re.search(r"^Pid: (\d+)$", self._ask("show info"), re.MULTILINE)
        if not found:
            raise Unavailable(f"what answers on {self._path} is not HAProxy")
        return int(found[1])

    def servers(self) -> list[Server]:
        return parse_servers(self._ask("show servers state"))

    def backend_statistics(self) -> str:
        """CSV with a line for each backend; a column's name is in the first line."""
        return self._ask("show stat -1 2 -1")

    def fell_back(self) -> str:
        """A line for each slot of which something was counted, with `key=` and `gpc0=`."""
        return self._ask(f"show table {FELL_BACK_TABLE}")

    def change_servers(self, commands: Iterable[str]) -> None:
        """Run `commands`. A refusal is not raised: whoever planned them looks at `servers()` again."""
        for batch in _batches(commands, separator="; "):
            self._ask(batch)

    def commit_map(self, entries: Mapping[str, str], *, name: str = MAP_NAME) -> None:
        """Make `entries` the whole map in one step: a request sees the map before it or the map after it."""
        version = self._ask(f"prepare map {name}").strip().removeprefix("New version created: ")
        if not version.isdigit():
            raise Unavailable(f"HAProxy would not change its map: {version}")
        try:
            for batch in _batches((f"{key} {value}" for key, value in entries.items()), separator="\n"):
                self._silent(f"add map @{version} {name} <<\n{batch}\n")
            self._silent(f"commit map @{version} {name}")
        except Unavailable:
            self._forget(name, version)
            raise

    def map(self, *, name: str = MAP_NAME) -> dict[str, str]:
        """The entries that requests see now."""
        rows = (line.split(" ") for line in self._ask(f"show map {name}").splitlines() if line)
        return {row[1]: row[2] for row in rows}

    def _forget(self, name: str, version: str) -> None:
        """Free an uncommitted version; a HAProxy that is gone has forgotten it already."""
        try:
            self._ask(f"clear map @{version} {name}")
        except Unavailable:
            return

    def _silent(self, command: str) -> None:
        answer = self._ask(command).strip()
        if answer:
            raise Unavailable(f"HAProxy would not change its map: {answer}")

    def _ask(self, command: str) -> str:
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
                connection.settimeout(self._timeout_s)
                connection.connect(str(self._path))
                connection.sendall(command.encode() + b"\n")
                chunks = []
                while chunk := connection.recv(65536):
                    chunks.append(chunk)
        except OSError as error:
            raise Unavailable(f"HAProxy does not answer on {self._path}: {error}") from None
        return b"".join(chunks).decode()


def _batches(lines: Iterable[str], *, separator: str) -> Iterator[str]:
    """`lines` joined into pieces that each fit a command."""
    batch: list[str] = []
    size = 0
    for line in lines:
        if batch and size + len(line) > _COMMAND_BYTES:
            yield separator.join(batch)
            batch, size = [], 0
        batch.append(line)
        size += len(line) + len(separator)
    if batch:
        yield separator.join(batch)
