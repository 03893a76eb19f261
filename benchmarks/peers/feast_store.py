"""A store of Feast on a Redis that a URL names, for the scripts beside this module.

They use it from their `main`, by the Python of an environment that has Feast.
"""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any
from unittest import mock


def opened(folder: Path, redis_url: str, project: str) -> Any:
    """A store without views, whose registry is in the folder."""
    feast = importlib.import_module("feast")
    _connect_by(redis_url)
    config = feast.RepoConfig(
        project=project,
        registry=str(folder / "registry.db"),
        provider="local",
        online_store={"type": "redis", "connection_string": "localhost:6379"},
        entity_key_serialization_version=3,
    )
    return feast.FeatureStore(config=config)


def add_view(store: Any, name: str, schema: Sequence[Any], rows: Any, source: Path) -> None:
    """Add the entity `name` with the view ``of_{name}`` of these fields, and write its rows.

    `rows` is a frame with the columns of the fields, `name` and ``at``; a view names a `source`, a
    Parquet file that is written with them.
    """
    feast = importlib.import_module("feast")
    entity = feast.Entity(name=name, join_keys=[name], value_type=feast.ValueType.STRING)
    view = feast.FeatureView(
        name=f"of_{name}",
        entities=[entity],
        ttl=timedelta(days=1),
        schema=schema,
        source=feast.FileSource(path=str(source), timestamp_field="at"),
    )
    rows.to_parquet(source)
    store.apply([entity, view])
    store.write_to_online_store(view.name, rows)


def _connect_by(redis_url: str) -> None:
    """Let Feast's store use clients of a URL: it takes a host and a port, and no socket.

    Each process makes its own, so that those of a server that forks share none.
    """
    redis, redis_asyncio = map(importlib.import_module, ("redis", "redis.asyncio"))
    store = importlib.import_module("feast.infra.online_stores.redis").RedisOnlineStore
    clients: dict[str, Any] = {}

    def client(*_: Any) -> Any:
        if "sync" not in clients:
            clients["sync"] = redis.Redis.from_url(redis_url)
        return clients["sync"]

    async def async_client(*_: Any) -> Any:
        if "async" not in clients:
            clients["async"] = redis_asyncio.Redis.from_url(redis_url)
        return clients["async"]

    mock.patch.object(store, "_get_client", client).start()
    mock.patch.object(store, "_get_client_async", async_client).start()
