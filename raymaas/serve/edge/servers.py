"""Servers: what HAProxy's slots hold now, what they should hold, and the commands between the two."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from raymaas.errors import InvalidInput, Unavailable
from raymaas.serve.edge.config import check_address, server_name, slot_name
from raymaas.specs.serving import EdgeTable

_FORCED_MAINTENANCE = 0x01


@dataclass(frozen=True)
class Server:
    """One server of one backend, as `show servers state` reports it."""

    backend: str
    name: str
    in_maintenance: bool


def parse_servers(text: str) -> list[Server]:
    """Read the answer to `show servers state`. Raises Unavailable when it is of another shape."""
    lines = text.strip().splitlines()
    if len(lines) < 2 or lines[0] != "1" or not lines[1].startswith("# "):
        raise Unavailable("HAProxy lists its servers in an unknown form; the edge needs HAProxy 2.8")
    columns = lines[1].removeprefix("# ").split()
    rows = [dict(zip(columns, line.split(), strict=False)) for line in lines[2:] if line]
    return [
        Server(row["be_name"], row["srv_name"], bool(int(row["srv_admin_state"]) & _FORCED_MAINTENANCE))
        for row in rows
    ]


def proxies_of(table: EdgeTable) -> tuple[str, ...]:
    """The addresses every slot balances over, each once. Raises InvalidInput unless they are `ip:port`."""
    try:
        return tuple(dict.fromkeys(check_address(address) for address in table.proxies))
    except ValueError as error:
        raise InvalidInput(f"the edge table of revision {table.revision} cannot be used: {error}") from None


def plan_servers(proxies: Iterable[str], running: Iterable[Server], *, slots: int) -> list[str]:
    """Commands after which every slot balances over `proxies` and nothing else; none when it is so.

    A server that is not wanted gets no new request at once, but HAProxy deletes it only when its last
    connection is gone: until then each plan holds the deletion again.
    """
    wanted = {server_name(address): address for address in proxies}
    by_slot: dict[str, dict[str, Server]] = {slot_name(slot): {} for slot in range(slots)}
    for server in running:
        if server.backend in by_slot:
            by_slot[server.backend][server.name] = server
    commands = []
    for slot, servers in by_slot.items():
        for name, address in wanted.items():
            if name not in servers:
                commands += [f"add server {slot}/{name} {address}", f"set server {slot}/{name} state ready"]
            elif servers[name].in_maintenance:
                commands.append(f"set server {slot}/{name} state ready")
        for name, server in servers.items():
            if name not in wanted:
                if not server.in_maintenance:
                    commands.append(f"set server {slot}/{name} state maint")
                commands.append(f"del server {slot}/{name}")
    return commands
