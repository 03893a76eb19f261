"""Scores with the latest features and weights: everything that a replica does, without HTTP."""

from __future__ import annotations

import asyncio
import itertools
import os
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

import msgspec
import numpy as np

from freshrank.actors.clock import Clock
from freshrank.actors.errors import (
    BadRecord,
    FreshrankError,
    RequestError,
    StaleParameters,
    Unavailable,
)
from freshrank.actors.impressions import Impression, encode_impression
from freshrank.actors.messages import Cut, Inputs, Ints, Version
from freshrank.actors.protocols import (
    JsonValue,
    RecordSink,
    Scorer,
    ServedFeatures,
    Status,
    StatusBoard,
)
from freshrank.serve.feature_reader import FeatureReader, StoredRow
from freshrank.serve.metrics import ServeMetrics
from freshrank.serve.schema import (
    TEXT_BOUND,
    EventsAnswer,
    FeatureInfo,
    Limits,
    ModelInfo,
    Position,
    ScoreAnswer,
    ScoreCall,
    ScoreDecoder,
    rounded,
    split_events,
)


class FollowedModel(Protocol):
    """What keeps the weights at the learner's newest version (`actors.follower.Follower`)."""

    @property
    def version(self) -> Version | None:
        """None before the first snapshot."""
        ...

    @property
    def error(self) -> str | None:
        """What the learner's last answer failed with."""
        ...

    @property
    def applied(self) -> Mapping[int, Cut]:
        """How far each partition's examples are contained in the weights."""
        ...

    @property
    def newest_event_ms(self) -> int:
        """The newest event time contained in the weights."""
        ...

    def age_ms(self) -> int | None:
        """Since the weights were published."""
        ...

    def silence_ms(self) -> int | None:
        """Since the learner last answered."""
        ...

    def status(self) -> dict[str, JsonValue]:
        """The figures of this copy."""
        ...

    async def wait_for(self, version: Version, timeout_s: float) -> None:
        """Come back when the weights are at least `version`; raises StaleParameters."""
        ...

    async def run(self) -> None:
        """Follow for ever."""
        ...


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
    """Examples for the page: ``entities`` and ``candidates``."""
    show: int = 10
    """How many of the best candidates count as shown where the request does not say."""
    read_timeout_s: float = 0.05
    wait_timeout_s: float = 1.0
    limits: Limits = field(default_factory=Limits)


@dataclass(frozen=True, slots=True)
class ServiceParts:
    """The collaborators of a replica."""

    served: ServedFeatures
    scorer: Scorer
    model: FollowedModel
    store: FeatureReader
    sink: RecordSink
    board: StatusBoard
    clock: Clock
    event_key: Callable[[bytes], bytes]
    """Checks one event's JSON and gives its record key; raises BadRecord."""
    close: Callable[[], Awaitable[None]]
    """Flushes and leaves what the parts hold open."""


class ScoringService:
    """One replica. For one event loop: between two awaits nothing else changes the weights."""

    def __init__(self, settings: ServiceSettings, parts: ServiceParts) -> None:
        self.settings = settings
        self.metrics = ServeMetrics()
        self._parts = parts
        self.decoder = ScoreDecoder(settings.entity, parts.served.context, settings.limits)
        # Unique over replicas and restarts, and cheap: a random prefix and a counter.
        self._request_prefix = os.urandom(6).hex()
        self._request_numbers = itertools.count()
        self._following: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to follow the learner. Called on the event loop that will serve."""
        self._following = asyncio.create_task(self._parts.model.run(), name="follow the learner")

    async def stop(self) -> None:
        """Flush the impressions and leave."""
        if self._following is not None:
            self._following.cancel()
            await asyncio.gather(self._following, return_exceptions=True)
        await self._parts.close()

    async def score(self, body: bytes) -> ScoreAnswer:
        """Answer POST /v1/score. Raises RequestError and StaleParameters."""
        call = self.decoder.decode(body)
        with self.metrics.latency.time():
            await self._await_model(call)
            return await self._score(call)

    async def add_events(self, body: bytes) -> EventsAnswer:
        """Answer POST /v1/events: all checked first, then all written. Raises Unavailable too."""
        events = split_events(body, self.settings.limits)
        keys = [self._event_key(index, event) for index, event in enumerate(events)]
        topic, sink = self.settings.events_topic, self._parts.sink
        places = await asyncio.gather(
            *(sink.send(topic, key, event) for key, event in zip(keys, events, strict=True))
        )
        return EventsAnswer(len(events), [Position(*place) for place in places])

    async def features(self, entity: str, key: str) -> dict[str, JsonValue]:
        """Answer GET /v1/features/{entity}/{id}. Raises RequestError."""
        if entity != self.settings.entity:
            reason = f"there is no entity {entity!r} here, only {self.settings.entity!r}"
            raise RequestError("entity", reason, status=404)
        if not 1 <= len(key) <= TEXT_BOUND:
            raise RequestError("id", f"from 1 to {TEXT_BOUND} characters")
        found = await self._parts.store.read(self._parts.served.key(key))
        at_ms = self._parts.clock.now_ms()
        return {
            "entity": entity,
            "id": key,
            "at_ms": at_ms,
            **msgspec.structs.asdict(self._freshness(found, at_ms)),
            "features": self._parts.served.describe(found.row, at_ms),
        }

    def model_info(self) -> dict[str, JsonValue]:
        """Answer GET /v1/model."""
        model = self._parts.model
        return {
            **msgspec.structs.asdict(self._model()),
            "newest_event_ms": model.newest_event_ms or None,
            "learner_silent_ms": model.silence_ms(),
            "learner_error": model.error,
            "applied": {str(partition): list(cut) for partition, cut in model.applied.items()},
        }

    def describe(self) -> dict[str, JsonValue]:
        """Answer GET /v1/pipeline: what a caller, or the page, has to know."""
        return {
            "pipeline": self.settings.pipeline,
            "entity": self.settings.entity,
            "candidate": {name: kind.__name__ for name, kind in self._parts.served.context.items()},
            "event_schema": self.settings.event_schema,
            "samples": self.settings.samples,
        }

    async def statuses(self) -> dict[str, Status]:
        """Answer GET /v1/status: what all parts posted, and this replica's own figures."""
        statuses: dict[str, Status] = {}
        try:
            async with asyncio.timeout(self.settings.read_timeout_s):
                statuses.update(await self._parts.board.collect())
        except (Unavailable, TimeoutError) as error:
            statuses["board"] = {"error": str(error) or "no answer"}
        statuses["replica"] = {
            "model": self._parts.model.status(),
            "store_error": self._parts.store.error,
            "store_failures": self._parts.store.failures,
            "impressions_lost": self._parts.sink.failures,
        }
        return statuses

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
        if self._parts.model.version is None:
            missing["model"] = self._parts.model.error or "no weights have arrived yet"
        try:
            await self._parts.store.check()
        except (Unavailable, TimeoutError) as error:
            missing["online_store"] = str(error) or "no answer"
        return missing

    async def _await_model(self, call: ScoreCall) -> None:
        model, timeout_s = self._parts.model, self.settings.wait_timeout_s
        if call.min_version is not None and (
            model.version is None or model.version < call.min_version
        ):
            await model.wait_for(call.min_version, timeout_s)
        wanted = call.max_model_age_ms
        if wanted is None:
            return
        age = model.age_ms()
        if age is None or age > wanted:
            held = model.version or Version(0, 0)
            await model.wait_for(Version(held.epoch, held.step + 1), timeout_s)

    async def _score(self, call: ScoreCall) -> ScoreAnswer:
        parts = self._parts
        found = await parts.store.read(parts.served.key(call.entity))
        # From here on without an await: features, version and scores belong together.
        at_ms = parts.clock.now_ms()
        inputs = parts.served.inputs(found.row, call.entity, call.columns, at_ms)
        scores = parts.scorer.score(inputs)
        ranking = np.argsort(-scores, kind="stable")
        answer = ScoreAnswer(
            request_id=f"{self._request_prefix}-{next(self._request_numbers)}",
            model=self._model(),
            features=self._freshness(found, at_ms),
            scores=rounded(scores),
            ranking=ranking.tolist(),
        )
        self.metrics.candidates.inc(call.count)
        self.metrics.features.labels(found.source).inc()
        self._log_shown(call, answer, inputs, ranking, at_ms)
        return answer

    def _model(self) -> ModelInfo:
        version = self._parts.model.version
        return ModelInfo(None if version is None else str(version), self._parts.model.age_ms())

    def _freshness(self, found: StoredRow, at_ms: int) -> FeatureInfo:
        event_time_ms, offset = self._parts.served.freshness(found.row)
        if found.row is None:
            return FeatureInfo(found.source, None, None, None)
        return FeatureInfo(found.source, event_time_ms, max(0, at_ms - event_time_ms), offset)

    def _log_shown(
        self, call: ScoreCall, answer: ScoreAnswer, inputs: Inputs, ranking: Ints, at_ms: int
    ) -> None:
        """Queue the rows of the best candidates, as they were scored, for the joiner."""
        topic = self.settings.impressions_topic
        shown = ranking[: self.settings.show if call.show is None else call.show]
        if topic is None or not len(shown):
            return
        impression = Impression(
            request_id=answer.request_id,
            entity=call.entity,
            at_ms=at_ms,
            version=answer.model.version or "",
            layout=self.settings.layout,
            join_keys=self._parts.served.join_keys(call.columns)[shown].tobytes(),
            dense=inputs.dense[shown].tobytes(),
            ids=inputs.ids[shown].tobytes(),
        )
        try:
            key = call.entity.encode("utf-8", "surrogatepass")
            self._parts.sink.send_nowait(topic, key, encode_impression(impression))
        except Unavailable:
            # The score is worth more than its example: answered, and counted as lost.
            self.metrics.impressions.labels("lost").inc()
        else:
            self.metrics.impressions.labels("logged").inc()

    def _event_key(self, index: int, event: bytes) -> bytes:
        try:
            return self._parts.event_key(event)
        except BadRecord as error:
            raise RequestError(f"events[{index}]", error.reason) from error


def status_of(error: FreshrankError) -> int:
    """The HTTP status that says what an error means to the caller."""
    if isinstance(error, RequestError):
        return error.status
    if isinstance(error, StaleParameters | Unavailable):
        return 503
    return 500


def problem_of(error: FreshrankError) -> tuple[str, str]:
    """Field and reason of an error, as the answer names them."""
    if isinstance(error, RequestError):
        return error.field, error.reason
    if isinstance(error, StaleParameters):
        return "min_version", str(error)
    if isinstance(error, Unavailable):
        return error.part, error.reason
    return "server", str(error)
