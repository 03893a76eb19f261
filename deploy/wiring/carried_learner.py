"""The learner as parts in other processes hold it, within one process: for kernels."""

from __future__ import annotations

from dataclasses import fields, is_dataclass, replace
from typing import Any, TypeVar, cast

import numpy as np

from freshrank.actors.messages import Delta, Examples, Gradient, Version
from freshrank.actors.parameters.source import ParameterSource
from freshrank.actors.protocols import GradientSink, Progress
from freshrank.learner.actor import LearnerActor

T = TypeVar("T")


def carried(value: T) -> T:
    """A copy of a message as Ray gives it to another process: its arrays cannot be written to.

    They lie in memory that processes share. Arrays that are not contiguous are copied there, too,
    and can be written to.

    >>> carried([np.ones(2)])[0].flags.writeable
    False
    """
    return cast(T, _carried(value))


def _carried(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        copy = value.copy()
        copy.flags.writeable = not value.flags.forc
        return copy
    if isinstance(value, list):
        return [_carried(one) for one in value]
    if is_dataclass(value) and not isinstance(value, type):
        return replace(
            value, **{one.name: _carried(getattr(value, one.name)) for one in fields(value)}
        )
    return value


class CarriedLearner(GradientSink, ParameterSource):
    """A `LearnerHandle` that gives and takes copies, as of `carried`."""

    def __init__(self, learner: LearnerActor) -> None:
        self._learner = learner

    async def push(self, work: Gradient | Examples) -> Progress:
        """See `GradientSink`."""
        return carried(await self._learner.push(carried(work)))

    async def progress(self, partition: int) -> Progress:
        """See `GradientSink`."""
        return carried(await self._learner.progress(partition))

    async def newer_than(
        self, version: Version | None, timeout_s: float, refused: Version | None = None
    ) -> list[Delta]:
        """See `ParameterSource`."""
        return carried(await self._learner.newer_than(version, timeout_s, refused))
