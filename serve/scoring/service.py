"""One replica without HTTP: it scores with the latest features and weights."""

from __future__ import annotations

import asyncio
import itertools
import os
from collections.abc import Coroutine, Sequence
from typing import Any

from freshrank.actors.alerts import Alerts, AlertSink
from freshrank.actors.connectors import Connectors
from freshrank.actors.errors import Unavailable
from freshrank.actors.features.retrieval import Retriever
from freshrank.actors.features.service import Candidates
from freshrank.actors.protocols import JsonValue
from freshrank.serve.api.consistency import ANY, Consistency
from freshrank.serve.api.requests import rounded
from freshrank.serve.api.responses import FeatureInfo, PipelineAnswer, ScoreAnswer
from freshrank.serve.api.score_requests import ScoreCall, ScoreDecoder
from freshrank.serve.autoscaling.request_load import RequestLoad
from freshrank.serve.experiments.assignment import NOBODY, Assigned, Experiments
from freshrank.serve.monitoring.metrics import ServeMetrics
from freshrank.serve.monitoring.status import ReplicaStatus
from freshrank.serve.scoring.applied_events import until_applied
from freshrank.serve.scoring.event_writer import EventWriter
from freshrank.serve.scoring.feature_reader import FeatureReader, StoredRow, source_of
from freshrank.serve.scoring.impression_log import ImpressionLog, ScoredRequest, scores_of
from freshrank.serve.scoring.row_copies import FoundRows, RequestRows, RowCopies
from freshrank.serve.scoring.served_model import ServedModel, sampled_scores
from freshrank.serve.scoring.served_pipeline import ServedPipeline
from freshrank.serve.settings import ServeSettings

# Seconds between two checks of whether a starting replica is ready: short beside the seconds that
# its process takes to start.
_READY_CHECK_S = 0.05


class ScoringService:
    """A replica. For one event loop: the weights change only while a method awaits."""

    def __init__(
        self,
        pipeline: ServedPipeline,
        settings: ServeSettings,
        model: ServedModel,
        connectors: Connectors,
        alerts: AlertSink | None = None,
        retriever: Retriever | None = None,
    ) -> None:
        self.pipeline = pipeline
        self.settings = settings
        self.model = model
        self.connectors = connectors
        self.retriever = retriever
        """None: the pipeline has no catalogue to recommend from."""
        self.metrics = ServeMetrics()
        self.load = RequestLoad(connectors.clock)
        self.experiments = Experiments(pipeline.experiments)
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
        self.alerts: AlertSink = alerts or Alerts(f"replica-{self.id}", clock)
        self.impressions = ImpressionLog(pipeline, connectors.sink, self.metrics)
        self._following: dict[str, asyncio.Task[None]] = {}
        self._posting: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to follow learner and catalogue. Called on the event loop that will serve."""
        self._follow("the learner", self.model.weights.run())
        if self.retriever is not None:
            self._follow("the catalogue", self.retriever.run())
        self._posting = asyncio.create_task(self.status.keep_posted(), name="post the status")

    def _follow(self, what: str, run: Coroutine[Any, Any, None]) -> None:
        self._following[what] = asyncio.create_task(run, name=f"follow {what}")

    async def until_ready(self) -> None:
        """Return once this replica can answer well, or after `max_start_wait_ms` all the same."""
        clock = self.connectors.clock
        deadline = clock.monotonic() + self.settings.max_start_wait_ms / 1000
        while clock.monotonic() < deadline and await self._missing():
            await clock.sleep(_READY_CHECK_S)

    async def stop(self) -> None:
        """Flush the impressions and close the connections."""
        tasks = [*self._following.values(), *([self._posting] if self._posting else [])]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self.connectors.close()

    def health(self) -> str | None:
        """What has stopped this replica for good; None while it works."""
        for what, task in self._following.items():
            if task.done() and not task.cancelled():
                return f"following {what} ended: {task.exception()}"
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
        if self.retriever is not None and (reason := self.retriever.not_ready()):
            missing["catalogue"] = reason
        try:
            await self.reader.check()
        except (Unavailable, TimeoutError) as error:
            missing["online_store"] = str(error) or "no answer"
        return missing

    async def score(self, body: bytes, request_id: str | None = None) -> ScoreAnswer:
        """Answer POST /v1/score. Raises RequestError and StaleParameters."""
        return await self.answer(self.decoder.decode(body), request_id)

    async def answer(self, call: ScoreCall, request_id: str | None = None) -> ScoreAnswer:
        """Answer a request to score; `request_id` where it is repeated under the same one.

        Raises RequestError and StaleParameters.
        """
        clock = self.connectors.clock
        begun = clock.monotonic()
        # Without an await: features, version and scores belong together.
        read = await self.read(call)
        candidates = {**call.columns, **self.weights(read.found, call.columns)}
        assigned = self.experiments.of(read.key, retrieves=False, pinned=call.wanted.pinned)
        scored = self.scored(read, candidates, request_id, assigned)
        show = self.settings.show if call.show is None else call.show
        ranking, explored = scored.ranked(show)
        answer = ScoreAnswer(
            request_id=scored.request_id,
            model=scored.model,
            features=scored.features,
            scores=[*rounded(scored.scores)],
            ranking=ranking.tolist(),
        )
        if scored.probabilities is not None:
            answer.probabilities = self.pipeline.by_class(scored.probabilities)
        if scored.candidate_rows:
            answer.candidate_rows = dict(scored.candidate_rows)
        if assigned.arms:
            answer.arms = dict(assigned.arms)
        if call.skipped:
            self.metrics.skipped(len(call.skipped))
            call.describe_skipped(answer)
        self.impressions.show(scored, ranking[:show], explored)
        self.metrics.scored(begun, clock.monotonic(), call.count, answer.features)
        return answer

    async def read(self, call: ScoreCall) -> RequestRows:
        """The rows that `call` needs, once the weights are as it wants them.

        Raises RequestError and StaleParameters.
        """
        key = await self.begin(call.key, call.wanted)
        return await self.read_rows(key, call.columns)

    async def begin(self, key: str | int, wanted: Consistency) -> str:
        """The canonical key of the entity, once weights and rows are as a request wants them.

        Raises RequestError and StaleParameters.
        """
        canonical = self.pipeline.canonical_key(self.pipeline.entity, key, self.pipeline.entity)
        if wanted is ANY:
            return canonical
        timeout_ms = wanted.timeout_ms
        timeout_s = (self.settings.wait_timeout_ms if timeout_ms is None else timeout_ms) / 1000
        deadline = self.connectors.clock.monotonic() + timeout_s
        with self.load.waiting():
            await self.model.wait_until(wanted.min_version, wanted.max_model_age_ms, timeout_s)
            if wanted.min_offsets:
                remaining_s = max(0.0, deadline - self.connectors.clock.monotonic())
                own = self.pipeline.entity, canonical
                features, offsets = self.pipeline.features, wanted.min_offsets
                await until_applied(self.reader, features, own, offsets, remaining_s)
        return canonical

    async def read_own(self, key: str) -> list[StoredRow]:
        """The rows of the entity `key`, in the order of `FeatureService.keys`."""
        return await self.reader.read(self.pipeline.features.keys(self.pipeline.entity, key))

    async def read_rows(
        self, key: str, candidates: Candidates, own: Sequence[StoredRow] = ()
    ) -> RequestRows:
        """The rows of the entity `key` and of candidates; `own` where `read_own` has just given it.

        Raises RequestError.
        """
        return await self._copies.of_request(self.pipeline.features, key, candidates, own)

    def scored(
        self,
        read: RequestRows,
        candidates: Candidates,
        request_id: str | None = None,
        assigned: Assigned = NOBODY,
    ) -> ScoredRequest:
        """The scores of `candidates`, by the weights and the features of this moment.

        They have the columns of `weights`, too. `request_id` is given where a repeated request has
        the same one. Raises RequestError where weights are wanted that are not held.
        """
        key, lookups, found = read
        at_ms, entity = self.connectors.clock.now_ms(), self.pipeline.entity
        once = request_id is not None
        inputs = self.pipeline.features.inputs(lookups, found.values, key, candidates, at_ms)
        model, request_id = self.model.at(assigned.pinned), request_id or self.new_request_id()
        sampled = sampled_scores(model, inputs, assigned.exploration, request_id)
        scores, of_classes = scores_of(model.score(inputs) if sampled is None else sampled[0])
        self.model.newest = inputs
        candidate_rows = found.by_table(entity, lookups) if found.ages_ms else {}
        self.metrics.candidate_rows(len(scores), candidate_rows, lookups)
        self.metrics.assigned(assigned.arms)
        return ScoredRequest(
            request_id=request_id,
            entity=key,
            at_ms=at_ms,
            model=model.info(),
            features=self.freshness(entity, found.own, at_ms),
            rows=found,
            candidate_rows=candidate_rows,
            columns=candidates,
            inputs=inputs,
            scores=scores,
            probabilities=of_classes,
            once=once,
            assigned=assigned,
            sampled=sampled,
        )

    def weights(self, found: FoundRows, candidates: Candidates) -> Candidates:
        """What sources of candidates say of them where the model learns it, by source."""
        if self.retriever is None:
            return {}
        own = [stored.row for stored in found.own]
        return self.retriever.weigh(own, candidates, self.connectors.clock.now_ms())

    def new_request_id(self) -> str:
        """An id that no other request has, of any replica."""
        return f"{self.id}-{next(self._request_numbers)}"

    def describe(self) -> PipelineAnswer:
        """Answer GET /v1/pipeline."""
        return self.pipeline.describe(self.settings.show, self.retriever)

    def freshness(self, entity: str, found: Sequence[StoredRow], at_ms: int) -> FeatureInfo:
        """Where the rows of an entity come from, and how old they are at `at_ms`."""
        source, rows = source_of(found), [stored.row for stored in found]
        event_time_ms, offsets = self.pipeline.features.freshness(entity, rows)
        if all(row is None for row in rows):
            return FeatureInfo(source, None, None, None)
        age_ms = max(0, at_ms - event_time_ms)
        offset = next(iter(offsets.values()))
        return FeatureInfo(source, event_time_ms, age_ms, offset if offset >= 0 else None)

    def _own_status(self) -> dict[str, JsonValue]:
        monotonic = self.connectors.clock.monotonic()
        status: dict[str, JsonValue] = {
            "model": self.model.weights.status(),
            # A list: no metric for each of the pipeline's names.
            "importance": [
                {"input": name, "size": size} for name, size in self.model.importance().items()
            ],
            "explain_error": self.model.explain_error,
            "store_error": self.reader.error,
            "store_failures": self.reader.failures,
            "impressions_lost": self.connectors.sink.failures,
            "alerts": self.alerts.status(),
            **self.metrics.status(monotonic),
            "experiments": self.metrics.experiments(self.pipeline.experiments),
        }
        if self.retriever is not None:
            status["recommendations"] = self.metrics.recommendations(monotonic)
            status["catalogue"] = dict(self.retriever.status())
        return status
