"""Reads features from Redis by Feast: those of a user and of many items, request by request.

    python peer_features.py REQUESTS CANDIDATES USER_FEATURES ITEM_FEATURES REDIS

It needs Python and what `feature_requirements.txt` beside it names, which it installs by pip into
an environment of its own (``~/.cache/freshrank/peer_features``; ``--environment`` names another).
REDIS is a URL, ``redis://host:port/db`` or ``unix://path``. It writes the rows of `USERS` users and
`ITEMS` items as Feast writes them, then asks for so many float features of one user and of so many
items a request: once by one call, as Feast's documents do it, and once by a call for the user and
one for the items, which reads the user's once. Its JSON has, by way, the milliseconds of each
request and the CPU time of all of them in this process. What it has written it removes.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import random
import tempfile
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

ENVIRONMENT = Path.home() / ".cache" / "freshrank" / "peer_features"
REQUIREMENTS = Path(__file__).resolve().with_name("feature_requirements.txt")
USERS, ITEMS = 1_000, 10_000
# Of requests, before those that are measured.
WARM_UP = 20
_PROJECT = "freshrank_bench"


def feature_store(folder: Path, redis_url: str, widths: dict[str, int]) -> Any:
    """A store with a view of so many features of each entity, its rows written."""
    feast, types = importlib.import_module("feast"), importlib.import_module("feast.types")
    pandas, numpy = importlib.import_module("pandas"), importlib.import_module("numpy")
    feast_store = importlib.import_module("feast_store")
    store = feast_store.opened(folder, redis_url, _PROJECT)
    now, rng = datetime.now(UTC), numpy.random.default_rng(0)
    for name, count in (("user", USERS), ("item", ITEMS)):
        names = columns(widths[name])
        schema = [feast.Field(name=one, dtype=types.Float64) for one in names]
        rows = pandas.DataFrame(rng.random((count, widths[name])), columns=names)
        rows[name] = [f"{name}{number}" for number in range(count)]
        rows["at"] = now
        feast_store.add_view(store, name, schema, rows, folder / f"{name}.parquet")
    return store


def columns(width: int) -> list[str]:
    """The names of so many features."""
    return [f"f{number}" for number in range(width)]


def measured(ask: Callable[[str, Sequence[str]], int], requests: int, candidates: int) -> Any:
    """Ask for random users and items, and count the milliseconds of each request."""
    chosen, spent_ms, cpu_s = random.Random(0), list[float](), 0.0
    for number in range(WARM_UP + requests):
        user = f"user{chosen.randrange(USERS)}"
        items = [f"item{one}" for one in chosen.sample(range(ITEMS), candidates)]
        cpu_began, began = time.process_time(), time.perf_counter()
        found = ask(user, items)
        if number >= WARM_UP:
            spent_ms.append((time.perf_counter() - began) * 1_000)
            cpu_s += time.process_time() - cpu_began
        if found != candidates:
            raise SystemExit(f"{found} of {candidates} items have features")
    return {"latencies_ms": spent_ms, "cpu_ms": cpu_s * 1_000 / requests}


def ways(store: Any, widths: dict[str, int]) -> dict[str, Callable[[str, Sequence[str]], int]]:
    """How a request is asked; each gives how many items had features."""
    of_user = [f"of_user:{one}" for one in columns(widths["user"])]
    of_item = [f"of_item:{one}" for one in columns(widths["item"])]

    def read(features: Sequence[str], rows: Sequence[dict[str, str]]) -> dict[str, list[Any]]:
        answer: dict[str, list[Any]] = store.get_online_features(
            features=features, entity_rows=rows, full_feature_names=True
        ).to_dict()
        return answer

    def at_once(user: str, items: Sequence[str]) -> int:
        rows = [{"user": user, "item": item} for item in items]
        return _present(read([*of_user, *of_item], rows)["of_item__f0"])

    def apart(user: str, items: Sequence[str]) -> int:
        read(of_user, [{"user": user}])
        return _present(read(of_item, [{"item": item} for item in items])["of_item__f0"])

    return {"one_call": at_once, "two_calls": apart}


def _present(values: Sequence[Any]) -> int:
    return sum(value is not None for value in values)


def main() -> None:
    """Measure what the command line asks for, by the Python of the environment."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    for name in ("requests", "candidates", "user_features", "item_features"):
        parser.add_argument(name, type=int)
    parser.add_argument("redis")
    parser.add_argument("--environment", type=Path, default=ENVIRONMENT)
    given = parser.parse_args()
    os.environ.setdefault("FEAST_USAGE", "False")
    environments = importlib.import_module("environments")
    environments.enter(given.environment, REQUIREMENTS, __file__)
    widths = {"user": given.user_features, "item": given.item_features}
    with tempfile.TemporaryDirectory(prefix="freshrank-feast-") as folder:
        store = feature_store(Path(folder), given.redis, widths)
        found = {
            name: measured(ask, given.requests, given.candidates)
            for name, ask in ways(store, widths).items()
        }
        store.teardown()
    print(json.dumps(found))


if __name__ == "__main__":
    main()
