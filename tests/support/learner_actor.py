"""A learner's actor on a clock that the test moves."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from fake_clock import ManualClock
from learning import NO_DENSE

from freshrank.actors.snapshots.store import SnapshotStore
from freshrank.learner.actor import LearnerActor, inline
from freshrank.learner.core import Learner
from freshrank.learner.gradients.compiled import CompiledDifferentiator
from freshrank.learner.models.logistic_regression import LogisticRegression
from freshrank.learner.optimizers.sgd import SGD
from freshrank.learner.settings import LearnerSettings

MODEL = LogisticRegression().bind(NO_DENSE)


def core(**settings: int) -> Learner:
    made = LearnerSettings.model_validate(settings)
    return Learner(MODEL, SGD(0.1), made, differentiate=CompiledDifferentiator)


def actor(
    learner: Learner, store: SnapshotStore | None = None, **parts: Any
) -> tuple[LearnerActor, ManualClock]:
    clock = ManualClock(1_000_000)
    return LearnerActor(learner, clock, store, **{"offload": inline, **parts}), clock


# Seconds, also on a machine with ten other busy processes for each of its cores.
PATIENCE_S = 300.0


def scenario(play: Callable[[], Awaitable[None]]) -> None:
    async def bounded() -> None:
        async with asyncio.timeout(PATIENCE_S):
            await play()

    asyncio.run(bounded())
