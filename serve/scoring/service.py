"""Scores with the latest features and weights: everything that a replica does, without HTTP."""

from __future__ import annotations

import asyncio
import itertools
import os
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field

import msgspec
import numpy as np

from freshrank.actors.alerts import AlertSink
from freshrank.actors.clock import Clock
from freshrank.actors.errors import BadRecord, RequestError, Unavailable
from freshrank.actors.protocols import (
    JsonValue,
    RecordSink,
    Scorer,
    ServedFeatures,
    Status,
    StatusRegistry,
)
from freshrank.serve.api.event_records import EventKey, records
from freshrank.serve.api.requests import TEXT_BOUND, Limits, ScoreCall, ScoreDecoder, rounded
from freshrank.serve.api.responses import (
    Bounds,
    EventsAnswer,
    FeatureInfo,
    FeaturesAnswer,
    ModelAnswer,
    ModelInfo,
    PipelineAnswer,
    Position,
    ScoreAnswer,
)
from freshrank.serve.scoring.feature_reader import FeatureReader, StoredRow
from freshrank.serve.scoring.impression_log import Scored, ShownLog
from freshrank.serve.scoring.metrics import ServeMetrics
from freshrank.serve.scoring.model_readiness import (
    Admission,
    FollowedModel,
    wait_for_age,
    wait_for_version,
    wait_to_be_ready,
)

# Figures are for people: a busy moment is no reason to show none.
_BOARD_TIMEOUT_S = 1.0

# Seconds between two posts of a replica's figures: the page looks once a second.
_POST_S = 1.0


@dataclass(frozen=True, slots=True)
class ServiceSettings:
    """What a replica has to be told of its pipeline."""

    pipeline: str
    entity: str
    """The entity's name: the field of a request, and the path segment of its features."""
    events_topic: str
    impressions_topic: str | None
    """None where the label does not come from what was served: nothing is logged then."""
    layout: str
    """Fingerprint of the model's inputs, for the joiner."""
    event_schema: Mapping[str, JsonValue]
    """JSON schema of one event."""
    samples: Mapping[str, JsonValue] = field(default_factory=dict)
    """For the page: ``entities``, ``candidates``, ``event`` (values of fields), ``choices`` (of
    fields) and ``automatic`` (which fields are the event's ``id``, ``time`` and ``key``)."""
    show: int = 10
    """How many of the best candidates count as shown where the request does not say."""
    wait_timeout_s: float = 1.0
    max_start_lag_ms: int = 1_000
    """A replica is not ready before its weights have once been so close to the learner's."""
    max_start_wait_ms: int = 10_000
    """... and is given no request before it is ready, or has waited for so long."""
    limits: Limits = field(default_factory=Limits)


@dataclass(frozen=True, slots=True)
class ServiceParts:
    """The collaborators of a replica."""

    served: ServedFeatures
    scorer: Scorer
    model: FollowedModel
    store: FeatureReader
    sink: RecordSink
    status_registry: StatusRegistry
    clock: Clock
    event_key: EventKey
    close: Callable[[], Awaitable[None]]
    """Flushes and leaves what the parts hold open."""
    alerts: AlertSink | None = None


class ScoringService:
    """One replica. For one event loop: between two awaits nothing else changes the weights."""

    def __init__(self, settings: ServiceSettings, parts: ServiceParts) -> None:
        self.settings = settings
        self.metrics = ServeMetrics()
        self._parts = parts
        self.decoder = ScoreDecoder(settings.entity, parts.served.context, settings.limits)
        self._admission = Admission(parts.model, settings.max_start_lag_ms)
        topic = settings.impressions_topic
        self._shown_log = (
            None if topic is None else ShownLog(parts.served, parts.sink, topic, settings.layout)
        )
        # Unique over replicas and restarts, and cheap: a random prefix and a counter.
        self.id = os.urandom(6).hex()
        self._request_numbers = itertools.count()
        self._following: asyncio.Task[None] | None = None
        self._posting: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to follow the learner. Called on the event loop that will serve."""
        self._following = asyncio.create_task(self._parts.model.run(), name="follow the learner")
        self._posting = asyncio.create_task(self._post_figures(), name="post figures")

    async def until_ready(self) -> None:
        """Come back when ready, or to answer with what there is after `max_start_wait_ms`."""
        timeout_s = self.settings.max_start_wait_ms / 1000.0
        await wait_to_be_ready(self.readiness, timeout_s, self._parts.clock)

    async def stop(self) -> None:
        """Flush the impressions and leave."""
        tasks = [task for task in (self._following, self._posting) if task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._parts.close()

    async def score(self, body: bytes) -> ScoreAnswer:
        """Answer POST /v1/score. Raises RequestError and StaleParameters."""
        call = self.decoder.decode(body)
        parts, begun = self._parts, self._parts.clock.monotonic()
        timeout_s = self.settings.wait_timeout_s
        if call.min_version is not None:
            await wait_for_version(parts.model, call.min_version, timeout_s)
        if call.max_model_age_ms is not None:
            await wait_for_age(parts.model, call.max_model_age_ms, timeout_s, parts.clock)
        found = await parts.store.read(parts.served.key(call.entity))
        answer = self._answer(call, found)
        ended = parts.clock.monotonic()
        self.metrics.scored(begun, ended, call.count, found.source, answer.features.age_ms)
        return answer

    async def add_events(self, body: bytes) -> EventsAnswer:
        """Answer POST /v1/events: all checked first, then all written.

        Raises RequestError, also where one is larger than the topic takes, and Unavailable. When
        not all could be written, some may have been, and sending all again is safe, because events
        are recognised by their ids.
        """
        settings, sink = self.settings, self._parts.sink
        found = records(body, self._parts.event_key, settings.limits.events)
        sent = (sink.send(settings.events_topic, key, event) for key, event in found)
        try:
            places = await asyncio.gather(*sent)
        except BadRecord as error:
            raise RequestError("events", error.reason, status=413) from error
        return EventsAnswer(
            len(found), [Position(*place, settings.events_topic) for place in places]
        )

    async def features(self, entity: str, key: str) -> FeaturesAnswer:
        """Answer GET /v1/features/{entity}/{id}. Raises RequestError."""
        if entity != self.settings.entity:
            reason = f"there is no entity {entity!r} here, only {self.settings.entity!r}"
            raise RequestError("entity", reason, status=404)
        if not 1 <= len(key) <= TEXT_BOUND:
            raise RequestError("id", f"from 1 to {TEXT_BOUND} characters")
        found = await self._parts.store.read(self._parts.served.key(key))
        at_ms = self._parts.clock.now_ms()
        return FeaturesAnswer(
            *msgspec.structs.astuple(self._freshness(found, at_ms)),
            entity=entity,
            id=key,
            at_ms=at_ms,
            features=dict(self._parts.served.describe(found.row, at_ms)),
        )

    def model(self) -> ModelAnswer:
        """Answer GET /v1/model."""
        model = self._parts.model
        return ModelAnswer(
            *msgspec.structs.astuple(self._model()),
            newest_event_ms=model.newest_event_ms or None,
            learner_silent_ms=model.silence_ms(),
            learner_error=model.error,
            applied={str(partition): dict(offsets) for partition, offsets in model.applied.items()},
        )

    def describe(self) -> PipelineAnswer:
        """Answer GET /v1/pipeline."""
        settings, limits = self.settings, self.settings.limits
        return PipelineAnswer(
            pipeline=settings.pipeline,
            entity=settings.entity,
            candidate={name: kind.__name__ for name, kind in self._parts.served.context.items()},
            event_schema=dict(settings.event_schema),
            samples=dict(settings.samples),
            show=settings.show,
            bounds=Bounds(limits.body_bytes, limits.candidates, limits.events),
        )

    async def statuses(self) -> dict[str, Status]:
        """Answer GET /v1/status: what all parts posted, and this replica's own figures of now."""
        statuses: dict[str, Status] = {}
        try:
            async with asyncio.timeout(_BOARD_TIMEOUT_S):
                statuses.update(await self._parts.status_registry.collect())
        except (Unavailable, TimeoutError) as error:
            statuses["board"] = {"error": str(error) or "no answer"}
        statuses.pop(f"replica-{self.id}", None)
        statuses["replica"] = self._figures()
        return statuses

    async def expose_metrics(self) -> bytes:
        """Answer GET /metrics. Other replicas are left out: each is asked by itself."""
        statuses = await self.statuses()
        return self.metrics.expose(
            {part: one for part, one in statuses.items() if not part.startswith("replica-")}
        )

    def health(self) -> str | None:
        """What has stopped this replica for good; None while it works."""
        task = self._following
        if task is not None and task.done() and not task.cancelled():
            return f"following the learner ended: {task.exception()}"
        return None

    async def readiness(self) -> dict[str, str]:
        """What keeps this replica from answering well, by part; empty when ready."""
        missing: dict[str, str] = {}
        if broken := self.health():
            missing["replica"] = broken
        if lacking := self._admission.missing():
            missing["model"] = lacking
        try:
            await self._parts.store.check()
        except (Unavailable, TimeoutError) as error:
            missing["online_store"] = str(error) or "no answer"
        return missing

    def _answer(self, call: ScoreCall, found: StoredRow) -> ScoreAnswer:
        # Without an await: features, version and scores belong together.
        parts = self._parts
        at_ms = parts.clock.now_ms()
        inputs = parts.served.inputs(found.row, call.entity, call.columns, at_ms)
        scores = parts.scorer.score(inputs)
        ranking = np.argsort(-scores, kind="stable")
        answer = ScoreAnswer(
            request_id=f"{self.id}-{next(self._request_numbers)}",
            model=self._model(),
            features=self._freshness(found, at_ms),
            scores=rounded(scores),
            ranking=ranking.tolist(),
        )
        shown = ranking[: self.settings.show if call.show is None else call.show]
        if len(shown) and self._shown_log is not None:
            scored = Scored(call.entity, answer, call.columns, inputs, shown, at_ms)
            # At the next turn of the loop: the answer goes out first.
            asyncio.get_running_loop().call_soon(self._log_shown, self._shown_log, scored)
        return answer

    def _log_shown(self, log: ShownLog, scored: Scored) -> None:
        self.metrics.shown(log.add(scored))

    def _model(self) -> ModelInfo:
        version = self._parts.model.version
        return ModelInfo(None if version is None else str(version), self._parts.model.age_ms())

    def _freshness(self, found: StoredRow, at_ms: int) -> FeatureInfo:
        if found.row is None:
            return FeatureInfo(found.source, None, None, None)
        event_time_ms, offset = self._parts.served.freshness(found.row)
        return FeatureInfo(found.source, event_time_ms, max(0, at_ms - event_time_ms), offset)

    def _figures(self) -> dict[str, JsonValue]:
        parts = self._parts
        return {
            "model": parts.model.status(),
            "store_error": parts.store.error,
            "store_failures": parts.store.failures,
            "impressions_lost": parts.sink.failures,
            "alerts": parts.alerts.status() if parts.alerts else {},
            **self.metrics.figures(parts.clock.monotonic()),
        }

    async def _post_figures(self) -> None:
        """Let the other replicas, and what reads the board, know."""
        while True:
            # Readiness tells of an outage; figures are worth no more than the next try.
            with suppress(Unavailable):
                await self._parts.status_registry.post(f"replica-{self.id}", self._figures())
            await self._parts.clock.sleep(_POST_S)
