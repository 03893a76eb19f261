"""Feast's own feature server, on features that are written to Redis before.

    python feature_server.py FOLDER PORT REDIS

It needs Python and what `feature_requirements.txt` beside it names, which it installs by pip into
an environment of its own, that of `peer_features.py`. FOLDER has a JSON file for each entity
(``user.json``) with its ``keys`` and its features by their names: ``numbers`` (a number or null for
each key) and ``lists`` (numbers for each key, all integers or none). They become a feature view
``of_user``, whose rows Feast writes to the Redis of the URL. Then the server answers as
``feast serve --workers -1`` does, which Feast's documents recommend for production: two workers a
core and one more, other options as they are by default, but for its access log, which is off, and
the end of workers after so many requests. It ends with SIGTERM.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

_PROJECT = "freshrank_serving"


def feature_store(folder: Path, redis_url: str) -> Any:
    """A store with a view for each entity of the folder, its rows written."""
    store = importlib.import_module("feast_store").opened(folder, redis_url, _PROJECT)
    for path in sorted(folder.glob("*.json")):
        _add(store, path)
    return store


def _add(store: Any, path: Path) -> None:
    """Add the entity of a file: its view, and its rows."""
    feast, types = importlib.import_module("feast"), importlib.import_module("feast.types")
    pandas, feast_store = map(importlib.import_module, ("pandas", "feast_store"))
    features, name = json.loads(path.read_bytes()), path.stem
    kinds = {float: types.Float64, int: types.Int64}
    schema = [feast.Field(name=one, dtype=types.Float64) for one in features["numbers"]]
    for one, lists in features["lists"].items():
        kind = types.Array(kinds[type(lists[0][0])])
        schema.append(feast.Field(name=one, dtype=kind))
    rows = pandas.DataFrame(
        {
            name: features["keys"],
            "at": datetime.now(UTC),
            **features["numbers"],
            **features["lists"],
        }
    )
    feast_store.add_view(store, name, schema, rows, path.with_suffix(".parquet"))


def main() -> None:
    """Write the features, and serve until a signal comes, by the Python of the environment."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("folder", type=Path)
    parser.add_argument("port", type=int)
    parser.add_argument("redis")
    given = parser.parse_args()
    os.environ.setdefault("FEAST_USAGE", "False")
    peer = importlib.import_module("peer_features")
    environments = importlib.import_module("environments")
    environments.enter(peer.ENVIRONMENT, peer.REQUIREMENTS, __file__)
    store = feature_store(given.folder, given.redis)
    store.serve(
        host="127.0.0.1",
        port=given.port,
        type_="http",
        no_access_log=True,
        workers=2 * len(os.sched_getaffinity(0)) + 1,
        worker_connections=1_000,
        max_requests=0,  # by default a worker ends after a thousand, with what it has under way
        max_requests_jitter=0,
        keep_alive_timeout=30,
        registry_ttl_sec=60,
        tls_key_path="",
        tls_cert_path="",
        metrics=False,
    )


if __name__ == "__main__":
    main()
