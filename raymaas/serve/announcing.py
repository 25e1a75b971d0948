"""Announcements: where each replica's own server listens, kept in Ray itself until the replica ends.

A replica on any node writes one entry when it is ready, and any driver reads them all in one call, so that neither
needs an address or a secret of the other, and a restarted controller knows them at once. A replica that was killed
leaves its entry behind: whoever reads compares with the replicas that Ray Serve has.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from ray.experimental import internal_kv

_PREFIX = b"replica "
_NAMESPACE = b"raymaas"


@dataclass(frozen=True, order=True)
class Announcement:
    """A replica, by the application it is of and Ray Serve's id of it, and the ip:port of its server."""

    app: str
    replica: str
    address: str

    @property
    def key(self) -> bytes:
        # All of it is in the key: listing keys is one call, reading values one for each.
        return _PREFIX + f"{self.app} {self.replica} {self.address}".encode()


def announce(announcement: Announcement) -> None:
    """Needs an initialised Ray worker or driver."""
    internal_kv._internal_kv_put(announcement.key, b"1", overwrite=True, namespace=_NAMESPACE)


def withdraw(announcements: Iterable[Announcement]) -> None:
    for announcement in announcements:
        internal_kv._internal_kv_del(announcement.key, namespace=_NAMESPACE)


def announced() -> list[Announcement]:
    """All of this cluster, also of replicas that were killed."""
    return _listed(_PREFIX)


def announced_of(app: str) -> list[Announcement]:
    """Those of one application."""
    return _listed(_PREFIX + f"{app} ".encode())


def _listed(prefix: bytes) -> list[Announcement]:
    keys = internal_kv._internal_kv_list(prefix, namespace=_NAMESPACE)
    return sorted(Announcement(*key.removeprefix(_PREFIX).decode().split(" ")) for key in keys)
