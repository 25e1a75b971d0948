"""Ports: which are free, and a sentence for the one that is not."""

from __future__ import annotations

import socket
from contextlib import ExitStack, closing

from raymaas.errors import Refused


def free_ports(count: int, *, host: str = "127.0.0.1") -> list[int]:
    """`count` different ports that nobody listened on just now."""
    with ExitStack() as stack:
        sockets = [stack.enter_context(closing(socket.socket())) for _ in range(count)]
        for each in sockets:
            each.bind((host, 0))
        return [each.getsockname()[1] for each in sockets]


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
