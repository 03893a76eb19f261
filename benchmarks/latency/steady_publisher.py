"""Makes a learner publish at a steady pace on any hardware: the load beside the serving bench."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import numpy as np

from freshrank.actors.errors import Unavailable
from freshrank.actors.messages import Examples, Inputs, OffsetRange, SourceOffsets
from freshrank.benchmarks.workloads.shop_events import user_name
from freshrank.benchmarks.workloads.shop_fixture import random_candidates
from freshrank.deploy.pipelines.pipeline import Pipeline
from freshrank.deploy.wiring.local import LearnerHandle
from freshrank.learner.gradients.compiled import CompiledDifferentiator
from freshrank.learner.parameters.weights import ModelWeights

# Seconds between two versions.
PERIOD_S = 0.1
# Examples of a gradient: as many as the learner's own batch, so that each push makes a version.
USERS, SHOWN = 16, 16
EXAMPLES = USERS * SHOWN
# Seconds to wait for the first weights of a learner that has just been started.
_SNAPSHOT_TIMEOUT_S = 30.0


class SteadyPublisher:
    """Pushes the gradient of examples with random labels every `PERIOD_S`."""

    def __init__(
        self, pipeline: Pipeline, learner: LearnerHandle, rng: np.random.Generator
    ) -> None:
        self._pipeline = pipeline
        self._learner = learner
        self._rng = rng

    async def run(self) -> None:
        """Push until cancelled. Raises Unavailable when the learner refuses a gradient."""
        weights = ModelWeights(self._pipeline.bound_model)
        for delta in await self._learner.newer_than(None, _SNAPSHOT_TIMEOUT_S):
            weights.apply(delta)
        differentiator = CompiledDifferentiator(self._pipeline.bound_model, weights)
        loop = asyncio.get_running_loop()
        due = loop.time()
        while True:
            progress = await self._learner.progress(0)
            gradient = differentiator.gradient(self._examples(progress.applied))
            answer = await self._learner.push(replace(gradient, base=progress.version))
            if not answer.accepted:
                raise Unavailable("learner", "a gradient of the bench was refused")
            due = max(due + PERIOD_S, loop.time())
            await asyncio.sleep(due - loop.time())

    def _examples(self, begin: SourceOffsets) -> Examples:
        """Return examples in the offset range from `begin`, of users of the workload."""
        rows = [self._rows_of(user) for user in range(USERS)]
        end = SourceOffsets({topic: begin[topic] + 1 for topic in self._pipeline.topics})
        return Examples(
            offset_range=OffsetRange(0, begin, end),
            inputs=Inputs(
                np.concatenate([inputs.dense for inputs in rows]),
                np.concatenate([inputs.ids for inputs in rows]),
            ),
            labels=self._rng.integers(0, 2, EXAMPLES).astype(np.float32),
            event_times_ms=np.zeros(EXAMPLES, dtype=np.int64),
        )

    def _rows_of(self, user: int) -> Inputs:
        items = random_candidates(SHOWN, self._rng)
        columns = {
            "item_id": [item.item_id for item in items],
            "category_id": [item.category_id for item in items],
        }
        features, name = self._pipeline.online_features, user_name(user)
        return features.inputs(features.lookups(name, columns), [None], name, columns, at_ms=0)
