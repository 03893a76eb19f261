"""Makes a learner publish at a steady pace, whatever the hardware: what `serving` runs beside."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import numpy as np

from freshrank.actors.errors import Unavailable
from freshrank.actors.messages import Examples, Inputs, OffsetRange, SourceOffsets
from freshrank.actors.protocols import GradientSink, ParameterSource
from freshrank.benchmarks.workloads.shop_fixture import some_candidates, user_name
from freshrank.deploy.pipelines.pipeline import Pipeline
from freshrank.learner.gradients.compiled import CompiledDifferentiator
from freshrank.learner.parameters.weights import ModelWeights

PERIOD_S = 0.1
# Of one gradient: the learner's own batch, so that each push is a step and a version.
EXAMPLES = 256
# Seconds to wait for a learner that has just been started.
_SNAPSHOT_TIMEOUT_S = 30.0


class Pulse:
    """Offers the gradient of fresh examples with random labels every `PERIOD_S`."""

    def __init__(
        self,
        pipeline: Pipeline,
        sink: GradientSink,
        source: ParameterSource,
        rng: np.random.Generator,
    ) -> None:
        self._pipeline = pipeline
        self._sink = sink
        self._source = source
        self._rng = rng

    async def run(self) -> None:
        """Push until cancelled. Raises Unavailable when the learner does not take it."""
        weights = ModelWeights(self._pipeline.bound_model)
        for delta in await self._source.newer_than(None, _SNAPSHOT_TIMEOUT_S):
            weights.apply(delta)
        differentiator = CompiledDifferentiator(self._pipeline.bound_model, weights)
        loop = asyncio.get_running_loop()
        due = loop.time()
        while True:
            progress = await self._sink.progress(0)
            gradient = differentiator.gradient(self._examples(progress.applied))
            answer = await self._sink.push(replace(gradient, base=progress.version))
            if not answer.accepted:
                raise Unavailable("learner", "a gradient of the bench was refused")
            due = max(due + PERIOD_S, loop.time())
            await asyncio.sleep(due - loop.time())

    def _examples(self, begin: SourceOffsets) -> Examples:
        """Sixteen users, each with sixteen of the items that are asked for."""
        shown = 16
        rows = [self._rows_of(user, shown) for user in range(EXAMPLES // shown)]
        end = SourceOffsets({topic: begin[topic] + 1 for topic in self._pipeline.topics})
        return Examples(
            offset_range=OffsetRange(0, begin, end),
            inputs=Inputs(
                np.concatenate([one.dense for one in rows]),
                np.concatenate([one.ids for one in rows]),
            ),
            labels=self._rng.integers(0, 2, EXAMPLES).astype(np.float32),
            event_times_ms=np.zeros(EXAMPLES, dtype=np.int64),
        )

    def _rows_of(self, user: int, shown: int) -> Inputs:
        items = some_candidates(shown, self._rng)
        columns = {
            "item_id": [one.item_id for one in items],
            "category_id": [one.category_id for one in items],
        }
        return self._pipeline.served.inputs(None, user_name(user), columns, at_ms=0)
