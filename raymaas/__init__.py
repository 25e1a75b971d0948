"""raymaas: Model-as-a-Service on Ray. `Client` and `AsyncClient` are the whole public API of the core install."""

from raymaas.client import AsyncClient, Client
from raymaas.errors import RaymaasError

__version__ = "0.1.0"

__all__ = ["AsyncClient", "Client", "RaymaasError", "__version__"]
