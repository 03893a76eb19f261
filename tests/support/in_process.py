"""Shards and a replica in the process of a test, between a real Kafka and a real Redis."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import AsyncIterator, Coroutine, Sequence
from contextlib import asynccontextmanager
from typing import Any

import httpx
from local_endpoint import client_of
from shard_world import NoWeights

from freshrank.actors.connectors import Connectors
from freshrank.deploy.pipelines.pipeline import Pipeline
from freshrank.deploy.wiring import assembly
from freshrank.feature_actors.connectors.kafka.client import KafkaAccess
from freshrank.feature_actors.connectors.kafka.source import KafkaSource
from freshrank.serve.scoring.service import ScoringService
from freshrank.serve.settings import ServeSettings


class KafkaSources:
    """Makes sources, and stops those that it has made."""

    def __init__(self, kafka: KafkaAccess) -> None:
        self._kafka = kafka
        self._made: list[KafkaSource] = []

    def __call__(self) -> KafkaSource:
        self._made.append(KafkaSource(self._kafka))
        return self._made[-1]

    async def stop(self) -> None:
        for source in self._made:
            await source.stop()


@asynccontextmanager
async def killed_at_the_end(
    loops: Sequence[Coroutine[Any, Any, None]], sources: KafkaSources, connectors: Connectors
) -> AsyncIterator[None]:
    """Run `loops` within the block, and fail if one of them ends before it."""
    running = [asyncio.create_task(loop) for loop in loops]
    try:
        yield
        assert not any(task.done() for task in running)
    finally:
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
        await sources.stop()
        await connectors.close()
        gc.collect()  # connections that aiokafka has left are closed while there is a loop to do it


@asynccontextmanager
async def replica_client(
    pipeline: Pipeline, connectors: Connectors
) -> AsyncIterator[httpx.AsyncClient]:
    """Speaks to a replica without weights."""

    async def made() -> ScoringService:
        return assembly.scoring_service(pipeline, ServeSettings(), NoWeights(), connectors)

    async with client_of(made) as client:
        yield client
