"""The demo's pipeline as the benches use it: its file, its servers, stored rows and requests."""

from __future__ import annotations

import asyncio
import contextlib
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from importlib.resources import files
from pathlib import Path

import msgspec
import numpy as np
from rich.console import Console

from freshrank.actors.errors import ConfigError, Unavailable
from freshrank.actors.messages import BEGINNING, Ints
from freshrank.actors.protocols import WriteOutcome
from freshrank.benchmarks.registry import BenchOptions
from freshrank.benchmarks.workloads.shop_events import CATEGORIES, ITEMS, shop_events, user_name
from freshrank.deploy.pipelines.pipeline import Pipeline
from freshrank.deploy.pipelines.pipeline_file import PipelineFile
from freshrank.deploy.servers.apache_kafka import ApacheKafka
from freshrank.deploy.servers.brokers import Broker, GivenBroker
from freshrank.deploy.servers.external import ExternalServers
from freshrank.deploy.servers.redis_server import RedisServer
from freshrank.examples.shop.shoppers import Candidate, ShopEvent
from freshrank.examples.shop.traffic import ScoreRequest
from freshrank.feature_actors.connectors.in_memory.log import consecutive_records
from freshrank.feature_actors.connectors.redis.online_store import RedisStore
from freshrank.feature_actors.state.entity_table import EntityTable
from freshrank.feature_actors.streams.codec import Codec

# The epoch of the claim under which a bench writes rows itself: there is no other writer.
_EPOCH = 1

# Every item of the workload's catalogue.
_ALL: Ints = np.arange(1, ITEMS + 1)

_OF_ITEMS = """
class Popularity(FeatureView):
    entity, source = Entity("item", key="item_id"), behaviour
    clicked = Count(where=col.type == "click", windows=["1m", "1h"])
    touched = Count(windows=["1m", "1h"])


pipeline = Pipeline("""


def shop_file(
    topic: str = "behaviour",
    name: str = "recommend",
    *,
    rekeyed: bool = False,
    of_items: bool = False,
) -> PipelineFile:
    """Return the demo's pipeline file with another topic and another name in its text.

    Where it is `rekeyed`, records may lie in any partition of the topic; `of_items` adds features
    of items. Raises ConfigError when the text no longer contains what is replaced exactly once.
    """
    anywhere = ', partitioner="any"' if rekeyed else ""
    changes = {
        'Stream("behaviour"': f'Stream("{topic}"',
        '"recommend",': f'"{name}",',
        "schema=Behaviour)": f"schema=Behaviour{anywhere})",
    }
    if of_items:
        changes["\npipeline = Pipeline("] = _OF_ITEMS
        changes["features=[Activity],"] = "features=[Activity, Popularity],"
    return PipelineFile("examples/recommend.py", changed_example("recommend.py", changes))


def changed_example(name: str, changes: Mapping[str, str]) -> str:
    """Return the text of an example with parts replaced, each of which occurs in it exactly once.

    Raises ConfigError when one does not.
    """
    text = files("freshrank.examples").joinpath(name).read_text(encoding="utf-8")
    return changed(name, text, changes)


def changed(name: str, text: str, changes: Mapping[str, str]) -> str:
    """Return the `text` of the example `name` with parts replaced, each of which occurs once in it.

    Raises ConfigError when one does not.
    """
    for old, new in changes.items():
        if text.count(old) != 1:
            raise ConfigError(
                f"examples/{name}",
                f"{old!r} does not occur exactly once in it",
                "Change what the benches replace to what the example says now.",
            )
        text = text.replace(old, new)
    return text


def own_shop(folder: Path) -> tuple[Path, Pipeline]:
    """Write the demo's pipeline with a name and a topic of its own; return its file, and load it.

    The broker and the Redis of a bench may be in use by others.
    """
    unique = f"bench-{time.time_ns():x}"
    return written_pipeline(folder, shop_file(unique, unique).text)


def written_pipeline(folder: Path, text: str) -> tuple[Path, Pipeline]:
    """Write the `text` of a pipeline's file in a folder; return the file, and load it."""
    path = folder / "pipeline.py"
    path.write_text(text, encoding="utf-8")
    return path, PipelineFile(str(path), text).load()


@contextlib.contextmanager
def external_servers(
    options: BenchOptions, console: Console, redis_bytes: int = 0
) -> Iterator[tuple[ExternalServers, Path]]:
    """Provide Apache Kafka, Redis and a temporary folder within the block.

    Servers that `options` does not name are started here and stopped after the block; such a Redis
    refuses writes beyond `redis_bytes` of memory (0: no bound).
    """
    with tempfile.TemporaryDirectory(prefix="freshrank-bench-") as name:
        folder = Path(name)
        broker: Broker = ApacheKafka(folder / "kafka", with_password=False, log=console.print)
        if options.kafka:
            broker = GivenBroker(options.kafka)
        outside = ExternalServers(broker, RedisServer(options.redis, redis_bytes))
        try:
            asyncio.run(outside.start())
            yield outside, folder
        finally:
            asyncio.run(outside.stop())


async def write_rows(
    pipeline: Pipeline, redis_url: str, events: Sequence[bytes], at_ms: int
) -> None:
    """Write the rows that `events` lead to into the online store, without a shard.

    Raises Unavailable when the store refuses them.
    """
    columns, rejected = Codec(pipeline.stream).decode(
        consecutive_records(pipeline.stream.topic, 0, events, at_ms)
    )
    assert not rejected  # the bench has made these events itself
    store = RedisStore(redis_url, f"fr:{pipeline.name}")
    await store.claim(0, _EPOCH)
    for plan in [table for entity in pipeline.plans.values() for table in entity.tables]:
        table = EntityTable(plan, len(events))
        slots = np.unique(table.apply(columns, before=False).slots)
        keys = [plan.row_key(name) for name in table.entities(slots)]
        written = await store.write(0, _EPOCH, BEGINNING, keys, table.rows(slots).tobytes())
        if written is not WriteOutcome.WRITTEN:
            raise Unavailable("redis", f"the rows of the bench were not written: {written.value}")
    await store.close()


def user_history(users: int, at_ms: int, rng: np.random.Generator) -> list[bytes]:
    """Return on average ten events of each of `users` users, the newest at `at_ms`."""
    return [value for _, value in shop_events(10 * users, users, at_ms, rng)]


def touched_items(events: Sequence[bytes]) -> Ints:
    """int64[m]: the items that events name, each once, ascending."""
    items = [msgspec.json.decode(event, type=ShopEvent).item_id for event in events]
    return np.unique(np.array(items, dtype=np.int64))


def random_candidates(count: int, rng: np.random.Generator, of: Ints = _ALL) -> list[Candidate]:
    """Draw `count` different items of the workload's catalogue, or of those given."""
    items = rng.choice(of, count, replace=False)
    return [Candidate(item, item % CATEGORIES + 1) for item in items.tolist()]


def score_bodies(
    count: int, users: int, candidates: int, rng: np.random.Generator, of: Ints = _ALL
) -> list[bytes]:
    """Return `count` bodies of POST /v1/score, which go through the users in turn."""
    return [
        msgspec.json.encode(
            ScoreRequest(user_name(number % users), random_candidates(candidates, rng, of), 10)
        )
        for number in range(count)
    ]
