"""DELETE /v1/entities/{entity}/{id}: what is known of one entity is forgotten."""

from __future__ import annotations

import asyncio

from freshrank.actors.protocols import RecordSink
from freshrank.serve.api.responses import ForgetAnswer, Position
from freshrank.serve.scoring.feature_reader import FeatureReader
from freshrank.serve.scoring.served_pipeline import ServedPipeline


class EntityForgetter:
    """Writes a tombstone of an entity to the topic of each stream, which the shards act on.

    So it holds in the order of the log, whoever crashes: what comes after it is of a new entity.
    """

    def __init__(self, pipeline: ServedPipeline, sink: RecordSink, reader: FeatureReader) -> None:
        self._pipeline = pipeline
        self._sink = sink
        self._reader = reader

    async def forget(self, entity: str, key: str) -> ForgetAnswer:
        """Forget the entity of the kind `entity` with the id `key`.

        Raises RequestError, and Unavailable: some streams may have the tombstone then. Writing it
        again is safe.
        """
        self._pipeline.check_entity(entity)
        key = self._pipeline.canonical_key(entity, key, "id")
        topics = [stream.topic for stream in self._pipeline.streams]
        sent = (self._sink.send(topic, key.encode(), None) for topic in topics)
        found = zip(topics, await asyncio.gather(*sent), strict=True)
        features = self._pipeline.features
        self._reader.forget(features.keys(entity, key), features.owned(key))
        return ForgetAnswer(entity, key, [Position(*place, topic) for topic, place in found])
