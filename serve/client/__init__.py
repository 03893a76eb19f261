"""A client of the REST API for Python: `Client`, and `AsyncClient` for asyncio.

Needs ``freshrank[client]``.
"""

from freshrank.serve.client.async_client import AsyncClient as AsyncClient
from freshrank.serve.client.sync_client import Client as Client
