"""The cluster card: where the store and the edge are, kept in Ray itself, so that any job of the cluster finds them."""

from __future__ import annotations

from ray.experimental import internal_kv

from raymaas.specs.base import Document

_KEY = b"cluster-card"
_NAMESPACE = b"raymaas"


class ClusterCard(Document):
    """What a job needs to know of the cluster it runs in. It holds no secrets."""

    kind = "cluster-card"

    storage: str
    url: str


def publish_card(card: ClusterCard) -> None:
    """Write the card over any older one. Needs an initialised Ray driver."""
    internal_kv._internal_kv_put(_KEY, card.seal(), overwrite=True, namespace=_NAMESPACE)


def read_card() -> ClusterCard | None:
    """The card of the cluster this driver is connected to; None when no controller has published one."""
    raw = internal_kv._internal_kv_get(_KEY, namespace=_NAMESPACE)
    return None if raw is None else ClusterCard.unseal(raw, source="the cluster card")


def withdraw_card() -> None:
    internal_kv._internal_kv_del(_KEY, namespace=_NAMESPACE)
