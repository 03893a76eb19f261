"""One replica without HTTP: it scores with the latest features and weights."""

from __future__ import annotations

import asyncio
import itertools
import os
from collections.abc import Sequence
from typing import NamedTuple

import msgspec
import numpy as np

from freshrank.actors.alerts import AlertSink
from freshrank.actors.connectors import Connectors
from freshrank.actors.errors import RequestError, Unavailable
from freshrank.actors.features.service import RowLookup
from freshrank.actors.protocols import JsonValue
from freshrank.serve.api.requests import ScoreCall, ScoreDecoder, rounded
from freshrank.serve.api.responses import (
    FeatureInfo,
    FeaturesAnswer,
    PipelineAnswer,
    ScoreAnswer,
)
from freshrank.serve.scoring.event_writer import EventWriter
from freshrank.serve.scoring.feature_reader import FeatureReader, StoredRow, source_of
from freshrank.serve.scoring.impression_log import ImpressionLog, ScoredRequest
from freshrank.serve.scoring.metrics import ServeMetrics
from freshrank.serve.scoring.row_copies import FoundRows, RowCopies
from freshrank.serve.scoring.served_model import ServedModel
from freshrank.serve.scoring.served_pipeline import ServedPipeline
from freshrank.serve.scoring.status import ReplicaStatus
from freshrank.serve.settings import ServeSettings

# Seconds between two checks of whether a starting replica is ready: short beside the seconds that
# its process takes to start.
_READY_CHECK_S = 0.05


class RequestRows(NamedTuple):
    """What was read for a request."""

    key: str
    """Of the entity, in its canonical form."""
    lookups: Sequence[RowLookup]
    found: FoundRows
    """Those of `lookups`, in their order."""


class ScoringService:
    """A replica. For one event loop: the weights change only while a method awaits."""

    def __init__(
        self,
        pipeline: ServedPipeline,
        settings: ServeSettings,
        model: ServedModel,
        connectors: Connectors,
        alerts: AlertSink | None = None,
    ) -> None:
        self.pipeline = pipeline
        self.settings = settings
        self.model = model
        self.connectors = connectors
        self.metrics = ServeMetrics()
        self.decoder = ScoreDecoder(
            pipeline.entity, pipeline.features.request_types, pipeline.limits
        )
        store, clock = connectors.store, connectors.clock
        timeout_s = settings.read_timeout_ms / 1000
        self.reader = FeatureReader(store, clock, timeout_s, partitions=connectors.claims)
        self._copies = RowCopies(self.reader, clock, settings.row_copy_ms)
        self.events = EventWriter(pipeline, connectors.sink, clock)
        # Unique over replicas and restarts, and cheap: a random prefix and a counter.
        self.id = os.urandom(6).hex()
        self._request_numbers = itertools.count()
        registry = connectors.status_registry
        self.status = ReplicaStatus(
            f"replica-{self.id}", self._own_status, registry, self.metrics, clock
        )
        self._alerts = alerts
        self._impressions: ImpressionLog | None = None
        if pipeline.impressions_topic is not None:
            self._impressions = ImpressionLog(
                pipeline.features, connectors.sink, pipeline.impressions_topic, pipeline.layout
            )
        self._following: asyncio.Task[None] | None = None
        self._posting: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to follow the learner. Called on the event loop that will serve."""
        self._following = asyncio.create_task(self.model.weights.run(), name="follow the learner")
        self._posting = asyncio.create_task(self.status.post_forever(), name="post the status")

    async def until_ready(self) -> None:
        """Return once this replica can answer well, or after `max_start_wait_ms` all the same."""
        clock = self.connectors.clock
        deadline = clock.monotonic() + self.settings.max_start_wait_ms / 1000
        while clock.monotonic() < deadline and await self._missing():
            await clock.sleep(_READY_CHECK_S)

    async def stop(self) -> None:
        """Flush the impressions and close the connections."""
        tasks = [task for task in (self._following, self._posting) if task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self.connectors.close()

    def health(self) -> str | None:
        """What has stopped this replica for good; None while it works."""
        task = self._following
        if task is not None and task.done() and not task.cancelled():
            return f"following the learner ended: {task.exception()}"
        return None

    async def readiness(self) -> dict[str, str]:
        """By part: what keeps new events from good answers of this replica; empty when ready."""
        return {
            **await self.status.missing_parts(
                self.connectors.partitions, self.connectors.further_partitions
            ),
            **await self._missing(),
        }

    async def _missing(self) -> dict[str, str]:
        """By part: what this replica itself lacks."""
        missing: dict[str, str] = {}
        if broken := self.health():
            missing["replica"] = broken
        if reason := self.model.not_ready():
            missing["model"] = reason
        try:
            await self.reader.check()
        except (Unavailable, TimeoutError) as error:
            missing["online_store"] = str(error) or "no answer"
        return missing

    async def score(self, body: bytes) -> ScoreAnswer:
        """Answer POST /v1/score. Raises RequestError and StaleParameters."""
        call = self.decoder.decode(body)
        clock = self.connectors.clock
        begun = clock.monotonic()
        answer = self._answer(call, await self.read(call))
        ended = clock.monotonic()
        features = answer.features
        self.metrics.scored(begun, ended, call.count, features.source, features.age_ms)
        return answer

    async def read(self, call: ScoreCall) -> RequestRows:
        """The rows that `call` needs, once the weights are as it wants them.

        Raises RequestError and StaleParameters.
        """
        key = self.pipeline.canonical_key(self.pipeline.entity, call.key, self.pipeline.entity)
        timeout_s = self.settings.wait_timeout_ms / 1000
        if call.min_version is not None:
            await self.model.weights.wait_for(call.min_version, timeout_s)
        if call.max_model_age_ms is not None:
            await self.model.wait_for_age(call.max_model_age_ms, timeout_s)
        lookups = self.pipeline.features.lookups(key, call.columns)
        return RequestRows(key, lookups, await self._copies.read(self.pipeline.entity, lookups))

    async def features(self, entity: str, key: str) -> FeaturesAnswer:
        """Answer GET /v1/features/{entity}/{id}; `key` is the id. Raises RequestError."""
        features = self.pipeline.features
        if entity not in features.entities:
            known = ", ".join(map(repr, features.entities))
            reason = f"there is no entity {entity!r} here, only {known}"
            raise RequestError("entity", reason, status=404)
        key = self.pipeline.canonical_key(entity, key, "id")
        found = await self.reader.read(features.keys(entity, key))
        at_ms = self.connectors.clock.now_ms()
        return FeaturesAnswer(
            *msgspec.structs.astuple(self.freshness(entity, found, at_ms)),
            entity=entity,
            id=key,
            at_ms=at_ms,
            features=dict(features.describe(entity, [stored.row for stored in found], at_ms)),
        )

    def describe(self) -> PipelineAnswer:
        """Answer GET /v1/pipeline."""
        return self.pipeline.describe(self.settings.show)

    def freshness(self, entity: str, found: Sequence[StoredRow], at_ms: int) -> FeatureInfo:
        """Where the rows of an entity come from, and how old they are at `at_ms`."""
        source, rows = source_of(found), [stored.row for stored in found]
        event_time_ms, offset = self.pipeline.features.freshness(entity, rows)
        if all(row is None for row in rows):
            return FeatureInfo(source, None, None, None)
        age_ms = max(0, at_ms - event_time_ms)
        return FeatureInfo(source, event_time_ms, age_ms, offset if offset >= 0 else None)

    def _answer(self, call: ScoreCall, read: RequestRows) -> ScoreAnswer:
        # Without an await: features, version and scores belong together.
        key, lookups, found = read
        at_ms = self.connectors.clock.now_ms()
        rows = [stored.row for stored in found.rows]
        inputs = self.pipeline.features.inputs(lookups, rows, key, call.columns, at_ms)
        entity = self.pipeline.entity
        scores = self.model.score(inputs)
        self.model.newest = inputs
        ranking = np.argsort(-scores, kind="stable")
        answer = ScoreAnswer(
            request_id=f"{self.id}-{next(self._request_numbers)}",
            model=self.model.info(),
            features=self.freshness(entity, found.own, at_ms),
            scores=rounded(scores),
            ranking=ranking.tolist(),
        )
        if found.ages_ms:
            answer.candidate_rows = found.by_table(entity, lookups)
            self.metrics.candidate_rows(call.count, answer.candidate_rows)
        shown = ranking[: self.settings.show if call.show is None else call.show]
        if len(shown) and self._impressions is not None:
            outage = source_of(found.rows) == "outage"
            scored = ScoredRequest(key, answer, call.columns, inputs, shown, at_ms, outage)
            # In the next iteration of the event loop: the answer is sent first.
            asyncio.get_running_loop().call_soon(self._log, self._impressions, scored)
        return answer

    def _log(self, impressions: ImpressionLog, scored: ScoredRequest) -> None:
        self.metrics.shown(impressions.add(scored))

    def _own_status(self) -> dict[str, JsonValue]:
        return {
            "model": self.model.weights.status(),
            # A list: no metric for each of the pipeline's names.
            "importance": [
                {"input": name, "size": size} for name, size in self.model.importance().items()
            ],
            "explain_error": self.model.explain_error,
            "store_error": self.reader.error,
            "store_failures": self.reader.failures,
            "impressions_lost": self.connectors.sink.failures,
            "alerts": self._alerts.status() if self._alerts else {},
            **self.metrics.status(self.connectors.clock.monotonic()),
        }
