"""The log of what a shop served and of what was ordered, in memory."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec
import numpy as np
from small_catalogue import PIPELINE, START_MS, Click

from freshrank.actors.impressions import Impression, encode_impression
from freshrank.actors.kernels.hashing import hash_texts
from freshrank.actors.kernels.partitioner import Partitioner, partitions_of
from freshrank.actors.records import RecordBatch
from freshrank.deploy.pipelines.pipeline import Pipeline
from freshrank.feature_actors.connectors.in_memory.log import MemoryLog, MemorySource


class ShopLog:
    """Impressions and orders of a shop in two partitions, each a second after the one before."""

    def __init__(self, pipeline: Pipeline = PIPELINE) -> None:
        self.pipeline = pipeline
        self.log = MemoryLog(2)
        self.at_ms = START_MS
        self._numbers = 0

    def show(self, user: str, arms: Mapping[str, str], items: list[str], **changes: object) -> None:
        shown, layout = len(items), self.pipeline.encoder.layout
        impression = Impression(
            request_id=f"r{self._next()}",
            entity=user,
            at_ms=self.at_ms,
            version="1.1",
            layout=self.pipeline.encoder.fingerprint,
            join_keys=hash_texts(items).tobytes(),
            dense=np.zeros((shown, len(layout.dense)), np.float32).tobytes(),
            ids=np.zeros((shown, layout.id_width), np.int64).tobytes(),
            scores=np.full(shown, 0.25, np.float32).tobytes(),
            arms=dict(arms),
        )
        impression = msgspec.structs.replace(impression, **changes)
        self._write(self.pipeline.impressions_topic, user, encode_impression(impression))

    def order(self, user: str, item: str) -> None:
        click = Click(f"c{self._next()}", user, item, "order", self.at_ms)
        self._write("clicks", user, msgspec.json.encode(click))

    def forget(self, user: str) -> None:
        self._next()
        self.log.distribute("clicks", [user.encode()], [None], np.array([self.at_ms]))

    def partition_of(self, user: str) -> int:
        return int(partitions_of([user.encode()], 2, Partitioner.MURMUR2)[0])

    def wait(self, seconds: int) -> None:
        self.at_ms += 1_000 * seconds

    def _next(self) -> int:
        self.wait(1)
        self._numbers += 1
        return self._numbers

    def _write(self, topic: str, user: str, value: bytes) -> None:
        self.log.distribute(topic, [user.encode()], [value], np.array([self.at_ms]))


class OneTopicFirst(MemorySource):
    """Gives all of one topic before anything of the other, unless it is paused."""

    def __init__(self, log: MemoryLog, first: str) -> None:
        super().__init__(log)
        self._first, self._held = first, set[tuple[str, int]]()

    async def start(self, positions: Mapping[tuple[str, int], int | None]) -> None:
        await super().start(positions)
        self._held = {place for place in positions if place[0] != self._first}
        for place in self._held:
            super().pause(*place)

    async def poll(self, max_records: int, timeout_s: float) -> list[RecordBatch]:
        found = await super().poll(2, 0)
        if not found and self._held:
            for place in self._held:
                super().resume(*place)
            self._held.clear()
            found = await super().poll(2, 0)
        return found

    def resume(self, topic: str, partition: int) -> None:
        if (topic, partition) not in self._held:
            super().resume(topic, partition)
