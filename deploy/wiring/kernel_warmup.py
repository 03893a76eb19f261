"""Compiles every kernel once, so that the first event and the first score need not wait.

Numba compiles a kernel for the types of its arguments, so the kernels are called as a running
system calls them: a small system in this process reads a few events, is restarted, and scores. What
its parts tell each other arrives as between processes, for arrays that cannot be written to are of
another type.
"""

from __future__ import annotations

import asyncio
import functools
import sys
import time
from collections.abc import Iterator
from dataclasses import replace

import msgspec
import numpy as np

import freshrank
from freshrank.actors.clock import SystemClock
from freshrank.actors.inputs.cleaning import Bucketed, Imputed
from freshrank.actors.kernels import cache
from freshrank.deploy.config.settings import Settings
from freshrank.deploy.pipelines.pipeline import Pipeline
from freshrank.deploy.wiring.local import LocalSystem, World
from freshrank.feature_actors.aggregations.decayed_count import DecayedCount
from freshrank.feature_actors.aggregations.last_k import LastK
from freshrank.feature_actors.aggregations.time_since import TimeSince
from freshrank.feature_actors.aggregations.windowed.sums import Count, Mean, Sum
from freshrank.feature_actors.connectors.in_memory.log import MemoryLog
from freshrank.feature_actors.labels.definitions import Joined, Labelled
from freshrank.feature_actors.retrieval.sources.co_visited import CoVisited
from freshrank.feature_actors.retrieval.sources.popular import Popular
from freshrank.feature_actors.streams.expressions.column import col
from freshrank.feature_actors.streams.stream import Entity, Stream
from freshrank.feature_actors.streams.table import Table
from freshrank.feature_actors.views.feature_view import FeatureView
from freshrank.learner.models.base import ModelSpec
from freshrank.learner.models.linear_regression import LinearRegression
from freshrank.learner.models.logistic_regression import LogisticRegression
from freshrank.learner.models.softmax_regression import SoftmaxRegression
from freshrank.learner.optimizers.adagrad import Adagrad
from freshrank.learner.optimizers.base import Optimizer
from freshrank.serve.settings import ServeSettings

USERS = 3
ITEMS = 4
# On a busy machine the first weights wait longer than a request does for kernels to be loaded.
PATIENT = Settings(serve=ServeSettings(wait_timeout_ms=600_000))


class WarmupEvent(msgspec.Struct):
    """A field of each type that a schema may have."""

    id: str
    user: str
    item: int
    kind: str
    price: float
    seconds: float
    ts: int


user = Entity("user", key="user")
stream = Stream("behaviour", id="id", time="ts", key=user, schema=WarmupEvent)


class Everything(FeatureView):
    """A feature of each family, with and without a condition: the program holds all of them."""

    entity, source = user, stream
    count = Count(windows=["1m", "1h"])
    clicks = Count(where=col.kind == "click", windows=["1h"])
    spent = Sum("price", where=(col.kind == "click") & (col.item > 0), windows=["1h"])
    price = Mean("price", windows=["1h"])
    recent = LastK("item", k=3)
    interest = DecayedCount(by="item", half_life="1m", top=3)
    idle = TimeSince()


class WarmupRow(msgspec.Struct):
    """A row of an item, with a field of each type."""

    item: int
    kind: str
    price: float
    weight: float


item = Entity("item", key="item")
catalogue = Table("catalogue", key=item, schema=WarmupRow)


class Sold(FeatureView):
    """Features of an entity that candidates name."""

    entity, source = item, stream
    sold = Count(where=col.kind == "click", windows=["1m"])
    users = LastK("user", k=3, repeats=False, learned=False)


JOINED = Joined(positive=col.kind == "click", on="item", within="1s")
LISTWISE = replace(JOINED, listwise=True)
LABELLED = Labelled(positive=col.kind == "click")
OF_CLASSES = Labelled(target="kind", classes=["view", "click", "leave"])
OF_NUMBERS = Labelled(target="seconds")


def example(model: ModelSpec, optimizer: Optimizer, label: Joined | Labelled) -> Pipeline:
    """Make a pipeline with every aggregate, and with features of items where it can have them."""
    of_items = isinstance(label, Joined)
    return Pipeline(
        "warm",
        stream=stream,
        features=[Everything, Sold] if of_items else [Everything],
        tables=[catalogue] if of_items else [],
        context=["item", "price", *([catalogue.weight] if of_items else [])],
        crosses=[("user", "item"), ("user", "item", "price_bucket"), ("user", "item", "recent")],
        cleaning=[Bucketed("price", 3), Imputed("idle", "median")],
        label=label,
        model=model,
        optimizer=optimizer,
    )


def of_catalogue() -> Pipeline:
    """Make a pipeline that recommends items, whose numbers are not cleaned."""
    return Pipeline(
        "warm",
        stream=stream,
        features=[Everything, Sold],
        tables=[catalogue],
        context=["item", "price", catalogue.weight],
        label=LISTWISE,
        model=LogisticRegression(),
        optimizer=Adagrad(),
        candidates=[CoVisited("users"), Popular("sold_1m")],
    )


def pipelines() -> Iterator[Pipeline]:
    """Make pipelines with every public model and optimiser, and with every kind of label."""
    public = [getattr(freshrank, name) for name in freshrank.__all__]
    # Only the learner's: the format of a record has a method `bind`, as a model has.
    classes = [
        value
        for value in public
        if isinstance(value, type) and value.__module__.startswith("freshrank.learner.")
    ]
    models: list[ModelSpec] = [cls() for cls in classes if issubclass(cls, ModelSpec)]
    optimizers: list[Optimizer] = [cls() for cls in classes if issubclass(cls, Optimizer)]
    count = max(len(models), len(optimizers))
    for number in range(count):
        model, optimizer = models[number % len(models)], optimizers[number % len(optimizers)]
        label: Joined | Labelled = (JOINED, LABELLED)[number % 2]
        if isinstance(model, SoftmaxRegression):
            label = OF_CLASSES
        elif isinstance(model, LinearRegression):
            label = OF_NUMBERS
        yield example(model, optimizer, label)
    yield of_catalogue()


class SetClock(SystemClock):
    """A clock whose time is set."""

    def __init__(self) -> None:
        self.at_ms = super().now_ms()

    def now_ms(self) -> int:
        """Return the time that was set, in ms since the Unix epoch."""
        return self.at_ms


async def exercise(pipeline: Pipeline) -> int:
    """Run `pipeline` on a few events, restart it, run it again; returns the number of examples.

    The last time as a replay runs it: within one process.
    """
    clock = SetClock()
    world = World(MemoryLog(partitions=1), clock)
    for carried in (True, True, False):
        system = LocalSystem(pipeline, PATIENT, world, carried=carried)
        await system.start()
        for _ in range(2):
            await _visit(system, clock)
            await system.freeze()
        examples = (await system.status())["examples"]
        await system.stop()
    assert isinstance(examples, int)
    return examples


async def _visit(system: LocalSystem, clock: SetClock) -> None:
    """Let users view items, be shown all of them and click one; the others become negatives."""
    for kind, items in (("view", range(ITEMS)), ("click", range(1))):
        _add_events(system.world, kind, items, clock.at_ms)
        await system.drain()
        clock.at_ms += 100
        for number in range(USERS):
            candidates = [{"item": item, "price": 1.5} for item in range(ITEMS)]
            await system.score({"user": f"u{number}", "candidates": candidates})
        await system.replica.until_ready()  # with the indexes of its catalogue
        clock.at_ms += 100
    for value in (msgspec.json.encode(WarmupRow(1, "hat", 1.5, 0.5)), None):
        system.world.log.distribute(catalogue.topic, [b"1"], [value], np.array([clock.at_ms]))
        await system.drain()
    clock.at_ms += 60_000
    _add_events(system.world, "leave", range(1), clock.at_ms)
    await system.drain()


def _add_events(world: World, kind: str, items: range, at_ms: int) -> None:
    """Append an event of `kind` for each user and each item."""
    events = [
        WarmupEvent(
            f"{at_ms}-{number}-{item}-{kind}", f"u{number}", item, kind, 2.5, 9.0, at_ms + item
        )
        for number in range(USERS)
        for item in items
    ]
    world.log.distribute(
        stream.topic,
        [event.user.encode() for event in events],
        [msgspec.json.encode(event) for event in events],
        np.array([event.ts for event in events], dtype=np.int64),
    )


@functools.cache
def load_kernels() -> None:
    """Load the kernels into this process, once; blocks for seconds."""
    asyncio.run(exercise(example(LogisticRegression(), Adagrad(), JOINED)))


def main() -> None:
    """Exercise every pipeline, and print a line of progress for each."""
    made = list(pipelines())
    for number, pipeline in enumerate(made, start=1):
        what = f"{type(pipeline.model).__name__}, {type(pipeline.optimizer).__name__}"
        print(
            f"compiling kernels {number}/{len(made)} ({what})", end=" ", file=sys.stderr, flush=True
        )
        began = time.monotonic()
        asyncio.run(exercise(pipeline))
        print(f"{time.monotonic() - began:.1f} s", file=sys.stderr)
    cache.mark_complete()


if __name__ == "__main__":
    main()
