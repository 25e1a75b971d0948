"""Ports: which are free, and a sentence for the one that is not."""

from __future__ import annotations

import random
import socket
from contextlib import ExitStack, closing

from raymaas.errors import Refused

# Above those of Ray's workers (10002 to 19999) and below those that Linux hands out (from 32768): between our choice
# and the moment a server listens there, Ray makes hundreds of connections, and one may get any port of the latter.
_CANDIDATES = range(22_700, 30_000)


def free_ports(count: int, *, host: str = "127.0.0.1") -> list[int]:
    """`count` different ports that nobody listened on just now. Raises Refused when there are not so many."""
    with ExitStack() as stack:
        found: list[int] = []
        for port in random.SystemRandom().sample(_CANDIDATES, len(_CANDIDATES)):
            if len(found) == count:
                break
            probe = socket.socket()
            try:
                probe.bind((host, port))
            except OSError:
                probe.close()
                continue
            stack.enter_context(closing(probe))
            found.append(port)
    if len(found) < count:
        among = f"from {_CANDIDATES[0]} to {_CANDIDATES[-1]}"
        raise Refused(f"only {len(found)} of the {count} ports that are needed {among} are free on {host}")
    return found


def require_free(host: str, port: int, *, what: str, setting: str) -> None:
    """Raise Refused naming the port, who wanted it and the setting that changes it, when it is taken."""
    with closing(socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise Refused(
                f"port {port} on {host}, wanted for {what}, cannot be used ({error.strerror}); "
                f"stop what uses it or choose another with {setting}"
            ) from None
