"""Servers: what HAProxy's slots hold now, what they should hold, and the commands between the two.

A slot has a server for each replica of its version, which is asked whether it lives, and one for each of Ray Serve's
proxies, which are the backup: they answer while no replica does.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from raymaas.errors import InvalidInput, Unavailable
from raymaas.serve.edge.config import PROXY, REPLICA, check_address, server_name, slot_name
from raymaas.serve.edge.routes import Routes
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


@dataclass(frozen=True)
class Addresses:
    """Where requests are sent: `replicas` by slot, and `proxies` for all slots."""

    proxies: tuple[str, ...] = ()
    replicas: Mapping[int, tuple[str, ...]] = field(default_factory=dict)

    @classmethod
    def of(cls, table: EdgeTable, routes: Routes) -> Addresses:
        """Each address once. Raises InvalidInput unless they are `ip:port`."""
        return cls(
            _checked(table.proxies, table),
            {
                routes.slots[target.model, target.version]: _checked(target.replicas, table)
                for target in table.targets
                if target.replicas
            },
        )

    def of_slot(self, slot: int) -> dict[str, str]:
        """What HAProxy is to know of each server of a slot, its address first, by name."""
        servers = {server_name(address): f"{address} {PROXY}" for address in self.proxies}
        return servers | {
            server_name(address): f"{address} {REPLICA}" for address in self.replicas.get(slot, ())
        }


def plan_servers(to: Addresses, running: Iterable[Server], *, slots: int) -> list[str]:
    """Commands after which every slot has the servers of `to` and no other; none when it is so.

    A server that is not wanted gets no new request at once, but HAProxy deletes it only when its last
    connection is gone: until then each plan holds the deletion again.
    """
    by_slot: dict[str, dict[str, Server]] = {slot_name(slot): {} for slot in range(slots)}
    for server in running:
        if server.backend in by_slot:
            by_slot[server.backend][server.name] = server
    commands = []
    for number, (slot, servers) in enumerate(by_slot.items()):
        wanted = to.of_slot(number)
        for name, described in wanted.items():
            if name not in servers:
                commands += _added(f"{slot}/{name}", described)
            elif servers[name].in_maintenance:
                commands.append(f"set server {slot}/{name} state ready")
        for name, server in servers.items():
            if name not in wanted:
                if not server.in_maintenance:
                    commands.append(f"set server {slot}/{name} state maint")
                commands.append(f"del server {slot}/{name}")
    return commands


def _added(server: str, described: str) -> list[str]:
    # HAProxy adds a server in maintenance and with its checks off.
    checked = [f"enable health {server}"] if described.endswith(REPLICA) else []
    return [f"add server {server} {described}", *checked, f"set server {server} state ready"]


def _checked(addresses: Iterable[str], table: EdgeTable) -> tuple[str, ...]:
    try:
        return tuple(dict.fromkeys(check_address(address) for address in addresses))
    except ValueError as error:
        raise InvalidInput(f"the edge table of revision {table.revision} cannot be used: {error}") from None
