"""Ours: the product's parts in one process, which learn from every event and answer requests."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Sequence

import msgspec
import numpy as np

from freshrank.actors.errors import ConfigError
from freshrank.actors.features.retrieval import Retriever
from freshrank.benchmarks.quality.next_item.interactions import Touch
from freshrank.deploy.config.settings import Settings
from freshrank.deploy.pipelines.pipeline import Pipeline
from freshrank.deploy.wiring.local import LocalSystem, World
from freshrank.feature_actors.connectors.in_memory.log import MemoryLog
from freshrank.feature_actors.retrieval.follower import CatalogueFollower
from freshrank.serve.explanation.explainer import Explainer
from freshrank.serve.recommendation.recommender import Recommender
from freshrank.serve.recommendation.selection import SelectionTypes

# Seconds of the clock between two steps of the follower of the catalogue: longer than it waits.
_STEP_S = 0.5
# Lists between two checkpoints of the learner, after which shards drop what it has learned.
_CHECKPOINT_LISTS = 500
# One shard, which writes no snapshot: nothing is recovered.
_SETTINGS = Settings.model_validate({"shards": {"count": 1, "snapshot_interval_s": 1e9}})


class TouchClock:
    """A clock that shows the time of the events; its monotonic time is moved by hand."""

    def __init__(self) -> None:
        self.event_ms = 0
        self.passed_s = 0.0
        self._sleepers: list[tuple[float, asyncio.Event]] = []

    def now_ms(self) -> int:
        """The time of the newest event, in ms since the Unix epoch."""
        return self.event_ms

    def monotonic(self) -> float:
        """Seconds that have passed for the follower of the catalogue."""
        return self.passed_s

    async def sleep(self, seconds: float) -> None:
        """Wait until `pass_by` has moved the time by `seconds`."""
        due = asyncio.Event()
        self._sleepers.append((self.passed_s + seconds, due))
        await due.wait()

    def pass_by(self, seconds: float) -> None:
        """Let `seconds` pass, and wake those whose sleep is over."""
        self.passed_s += seconds
        for at_s, due in self._sleepers:
            if at_s <= self.passed_s:
                due.set()
        self._sleepers = [one for one in self._sleepers if not one[1].is_set()]


class LiveSystem:
    """Feature shards, learner and a replica with its recommender, over topics in memory.

    Parameters
    ----------
    pipeline
        Its stream has the events, its table the catalogue.
    shown
        Items of a list that are logged as shown, and learned from.
    repeats
        Whether lists may have items that the user touched.
    """

    def __init__(self, pipeline: Pipeline, shown: int, *, repeats: bool) -> None:
        self.clock = TouchClock()
        (table,) = pipeline.tables
        others = {topic: 1 for topics in pipeline.candidate_topics.values() for topic in topics}
        self.log = MemoryLog(1, others=others)
        self.system = LocalSystem(pipeline, _SETTINGS, World(self.log, self.clock))
        self._topics = pipeline.stream.topic, table.topic
        self._shown = shown
        self._repeats = repeats
        self._known = set[int]()
        self._seen = defaultdict[str, set[int]](set)
        self._touched = set[str]()
        self._count = self._lists = 0
        service = self.system.replica
        if not isinstance(service.retriever, CatalogueFollower):
            raise ConfigError("pipeline", "it recommends nothing", "Declare candidates=[...].")
        self.follower = service.retriever
        retriever: Retriever = service.retriever
        types = SelectionTypes(service.pipeline, retriever)
        self._recommender = Recommender(service, retriever, types, Explainer(service))

    async def start(self) -> None:
        """Start all parts."""
        await self.system.start()
        self.system.replica.start()

    async def stop(self) -> None:
        """Stop all parts."""
        await self.system.replica.stop()
        await self.system.stop()

    def touch(self, touch: Touch) -> None:
        """Write an event, and the row of an item that is new."""
        events, rows = self._topics
        self.clock.event_ms = touch.at_ms
        stamps = np.array([touch.at_ms], dtype=np.int64)
        if touch.item not in self._known:
            self._known.add(touch.item)
            row = {"item": touch.item, "category": touch.category}
            self.log.distribute(rows, [b"%d" % touch.item], [msgspec.json.encode(row)], stamps)
        event = {
            "touch_id": str(self._count), "user": touch.user, "item": touch.item,
            "category": touch.category, "kind": touch.kind, "at": touch.at_ms,
        }  # fmt: skip
        self.log.distribute(events, [touch.user.encode()], [msgspec.json.encode(event)], stamps)
        self._seen[touch.user].add(touch.item)
        self._touched.add(str(touch.item))
        self._count += 1

    async def learn(self) -> None:
        """Read and learn all that was written, and take what the sources of candidates need.

        The rows of items that were touched are read at once; a step of the follower reads new rows
        of the catalogue and the next five hundred of all, whose windows have moved on.
        """
        await self.system.drain()
        self._lists += 1
        if self._lists % _CHECKPOINT_LISTS == 0:
            await self.system.learner.save()
        names = [name for name in self._touched if self.follower.knows(name)]
        self._touched.difference_update(names)
        rows = {}
        for table in self.follower.tables:
            keys = [table.row_key(name) for name in names]
            rows[table.name] = (await self.system.world.store.read(keys)).rows
        slots = self.follower.catalogue.slots_of(names)
        self.follower.take_rows(slots, rows, self.clock.event_ms)
        self.clock.pass_by(_STEP_S)
        await self.follower.step()

    async def recommend(self, user: str, at_ms: int, k: int) -> Sequence[int]:
        """The best `k` items that the user has not touched, the best first."""
        self.clock.event_ms = at_ms
        request = {
            "user": user, "k": self._shown, "show": self._shown,
            "exclude": [] if self._repeats else sorted(self._seen[user]),
            "exclude_seen": not self._repeats, "min_version": self.system.newest,
        }  # fmt: skip
        answer = await self._recommender.recommend(msgspec.json.encode(request))
        await asyncio.sleep(0)  # impressions are logged after the answer
        return [int(one.id) for one in answer.items[:k]]
