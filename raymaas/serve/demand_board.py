"""The demand board: what edges see together, kept in Ray itself, where the autoscaling policy reads it.

The policy runs in Ray Serve's controller, which knows neither our controller's address nor its secret.
"""

from __future__ import annotations

from ray.experimental import internal_kv

from raymaas.specs.demand import Demand

_KEY = b"edge-demand"
_NAMESPACE = b"raymaas"


def publish_demand(demand: Demand) -> None:
    """Write it over any older one. Needs an initialised Ray driver."""
    internal_kv._internal_kv_put(_KEY, demand.seal(), overwrite=True, namespace=_NAMESPACE)


def read_demand() -> Demand | None:
    """What was published last; None before that. It may be old. Needs an initialised Ray worker or driver."""
    raw = internal_kv._internal_kv_get(_KEY, namespace=_NAMESPACE)
    return None if raw is None else Demand.unseal(raw, source="what edges see asked")


def withdraw_demand() -> None:
    internal_kv._internal_kv_del(_KEY, namespace=_NAMESPACE)
