"""The Python client: `Client` and `AsyncClient`. Imports no torch, no Ray and no storage library."""

from raymaas.client.async_client import AsyncClient
from raymaas.client.client import Client
from raymaas.client.predictions import Prediction

__all__ = ["AsyncClient", "Client", "Prediction"]
