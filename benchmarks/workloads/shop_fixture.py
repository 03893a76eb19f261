"""The demo's pipeline as the benches use it: its file, its outside parts, rows and requests."""

from __future__ import annotations

import asyncio
import contextlib
import tempfile
import time
from collections.abc import Iterator, Sequence
from importlib.resources import files
from pathlib import Path

import msgspec
import numpy as np
from rich.console import Console

from freshrank.actors.errors import ConfigError, Unavailable
from freshrank.actors.messages import RecordBatch
from freshrank.actors.protocols import WriteOutcome
from freshrank.benchmarks.registry import BenchOptions
from freshrank.benchmarks.workloads.shop_events import CATEGORIES, ITEMS, shop_events
from freshrank.deploy.pipelines.pipeline import Pipeline
from freshrank.deploy.pipelines.pipeline_file import PipelineFile
from freshrank.deploy.servers.brokers import open_broker
from freshrank.deploy.servers.external import Outside
from freshrank.deploy.servers.redis_server import RedisServer
from freshrank.examples.shop.shoppers import Candidate
from freshrank.examples.shop.traffic import ScoreRequest
from freshrank.feature_actors.connectors.redis.online_store import RedisStore
from freshrank.feature_actors.state.entity_table import EntityTable
from freshrank.feature_actors.streams.json_decoder import Codec

# Of the claim under which a bench writes rows itself: nobody competes for it.
_EPOCH = 1


def shop_file(topic: str = "behaviour", name: str = "recommend") -> PipelineFile:
    """The demo's pipeline file, its topic and its name replaced where a bench wants its own."""
    text = files("freshrank.examples").joinpath("recommend.py").read_text(encoding="utf-8")
    for was, wanted in (
        ('Stream("behaviour"', f'Stream("{topic}"'),
        ('"recommend",', f'"{name}",'),
    ):
        if text.count(was) != 1:
            raise ConfigError("examples/recommend.py", f"not one {was}", "Mend the bench.")
        text = text.replace(was, wanted)
    return PipelineFile("examples/recommend.py", text)


def own_shop(folder: Path) -> tuple[Path, Pipeline]:
    """The demo's pipeline under names of its own, as a file in `folder`, and loaded.

    The broker and the Redis may be somebody's.
    """
    unique = f"bench-{time.time_ns():x}"
    made, path = shop_file(unique, unique), folder / "pipeline.py"
    path.write_text(made.text, encoding="utf-8")
    return path, made.load()


@contextlib.contextmanager
def running_outside(options: BenchOptions, console: Console) -> Iterator[tuple[Outside, Path]]:
    """Real Apache Kafka and real Redis, those given or started here, and a folder; all go after."""
    with tempfile.TemporaryDirectory(prefix="freshrank-bench-") as name:
        folder = Path(name)
        broker = open_broker(
            options.kafka or "apache", topics={}, folder=folder / "kafka", say=console.print
        )
        outside = Outside(broker, RedisServer(options.redis))
        try:
            asyncio.run(outside.start())
            yield outside, folder
        finally:
            asyncio.run(outside.stop())


def user_name(number: int) -> str:
    """The user of that number, as the workload names them."""
    return f"u{number:07d}"


async def write_rows(
    pipeline: Pipeline, redis_url: str, events: Sequence[bytes], at_ms: int
) -> None:
    """Put the rows that `events` give into the online store, without a shard."""
    columns, rejected = Codec(pipeline.stream).decode(
        RecordBatch(
            topic=pipeline.stream.topic,
            partition=0,
            values=list(events),
            offsets=np.arange(len(events), dtype=np.int64),
            timestamps_ms=np.full(len(events), at_ms, dtype=np.int64),
        )
    )
    assert not rejected  # of our own making
    table = EntityTable(pipeline.plan, len(events))
    slots = np.unique(table.apply(columns, before=False).slots)
    keys = [pipeline.served.key(name) for name in table.entities(slots)]
    store = RedisStore(redis_url, f"fr:{pipeline.name}")
    await store.claim(0, _EPOCH)
    written = await store.write(0, _EPOCH, 0, keys, table.rows(slots).tobytes())
    await store.close()
    if written is not WriteOutcome.WRITTEN:
        raise Unavailable("redis", f"the rows of the bench were not written: {written.value}")


def user_history(users: int, at_ms: int, rng: np.random.Generator) -> list[bytes]:
    """Ten events a user, the newest at `at_ms`."""
    return [value for _, value in shop_events(10 * users, users, at_ms, rng)]


def some_candidates(count: int, rng: np.random.Generator) -> list[Candidate]:
    """Different items of the workload's catalogue."""
    items = rng.choice(ITEMS, count, replace=False) + 1
    return [Candidate(item, item % CATEGORIES + 1) for item in items.tolist()]


def score_bodies(count: int, users: int, candidates: int, rng: np.random.Generator) -> list[bytes]:
    """Bodies of POST /v1/score, each of another user (as far as they go) and other items."""
    return [
        msgspec.json.encode(
            ScoreRequest(user_name(one % users), some_candidates(candidates, rng), 10)
        )
        for one in range(count)
    ]
