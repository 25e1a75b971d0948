"""raymaas: Model-as-a-Service on Ray. `Client` and `AsyncClient` are the whole public API of the core install."""

from typing import TYPE_CHECKING, Any

from raymaas.errors import RaymaasError

if TYPE_CHECKING:
    from raymaas.client import AsyncClient, Client

__version__ = "0.1.0"

__all__ = ["AsyncClient", "Client", "RaymaasError", "__version__"]


def __getattr__(name: str) -> Any:
    # The clients when they are asked for: workers and replicas import this package too, and are no clients.
    if name in ("AsyncClient", "Client"):
        from raymaas import client

        return getattr(client, name)
    raise AttributeError(f"module 'raymaas' has no attribute {name!r}")
