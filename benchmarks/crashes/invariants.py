"""Checks what must hold during a simulated run, by observing the calls of its parts."""

from __future__ import annotations

import inspect
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from types import ModuleType
from typing import Any, TypeAlias

from freshrank.actors.messages import (
    Delta,
    Examples,
    Gradient,
    OffsetRange,
    SourceOffsets,
    Version,
    dominates,
)
from freshrank.actors.parameters.follower import Follower
from freshrank.actors.protocols import Progress
from freshrank.actors.snapshots.store import SnapshotStore
from freshrank.benchmarks.crashes.process import Process, current_process, replaced
from freshrank.learner import checkpoints
from freshrank.learner.checkpoints import Restored
from freshrank.learner.core import Learner
from freshrank.learner.gradients.batch import BatchDifferentiator
from freshrank.learner.parameters.weights import ModelWeights

Example: TypeAlias = tuple[int, bytes, bytes, float, int]
"""Partition, dense inputs, ids, label, event time: each example of the log is another tuple."""


class Difference(AssertionError):
    """A run with crashes differs from the run without, or breaks an invariant."""


class InvariantChecker:
    """Records which examples the learner's weights contain, and a checksum of each version.

    It raises `Difference` into the part that breaks an invariant: a version has one set of weights
    everywhere, and a replica goes back neither to an older version nor to fewer applied offsets.

    Parameters
    ----------
    is_replica
        Whether a process is a replica.
    """

    def __init__(self, is_replica: Callable[[Process], bool]) -> None:
        self._is_replica = is_replica
        self._examples_of: dict[int, tuple[Gradient, Examples]] = {}
        self._offered: list[tuple[OffsetRange, Examples]] = []
        self._learned: list[tuple[int, Examples]] = []
        self._checksums: dict[Version, str] = {}
        self._taken: set[Version] = set()
        """The versions that a replica or a shard has had."""
        self._difference: Difference | None = None
        self._newest: dict[Process, tuple[Version, Mapping[int, SourceOffsets]]] = {}

    def learned_examples(self) -> Counter[Example]:
        """Count the examples that the learner's weights contain."""
        return Counter(row for _, examples in self._learned for row in example_rows(examples))

    def check(self) -> None:
        """Raise the last difference again: the part that it was raised in may have caught it."""
        if self._difference is not None:
            raise self._difference

    @contextmanager
    def observing(self) -> Iterator[None]:
        """Observe the calls of all parts within the block."""
        observed: list[tuple[type | ModuleType, str, Callable[..., None]]] = [
            (BatchDifferentiator, "gradient", self._differentiated),
            (Learner, "offer", self._offered_to_learner),
            (Learner, "step", self._stepped),
            (checkpoints, "restore", self._restored),
            (ModelWeights, "apply", self._swapped),
            (Follower, "step", self._followed),
        ]
        with replaced((owner, name, _observed(owner, name, see)) for owner, name, see in observed):
            yield

    def _differentiated(self, gradient: Gradient, _: object, examples: Examples) -> None:
        # The gradient is kept as well, so that no other object gets its id.
        self._examples_of[id(gradient)] = gradient, examples

    def _offered_to_learner(
        self, progress: Progress, _: Learner, work: Gradient, *__: object
    ) -> None:
        if progress.accepted:
            self._offered.append((work.offset_range, self._examples_of[id(work)][1]))

    def _stepped(self, delta: Delta | None, core: Learner, *_: object) -> None:
        if delta is None:
            return
        self._learned += [(core.trained.total_steps, examples) for _, examples in self._offered]
        self._offered = []
        self._published(delta.version, core.weights.checksum())

    def _restored(self, _: Restored, core: Learner, __: SnapshotStore) -> None:
        self._offered = []
        steps = core.trained.total_steps
        self._learned = [(step, examples) for step, examples in self._learned if step <= steps]
        if core.version not in self._taken:
            # The epoch of a learner that crashed before its first checkpoint comes again: where the
            # model has changed since, with other weights.
            self._checksums.pop(core.version, None)
        self._published(core.version, core.weights.checksum())

    def _published(self, version: Version, checksum: str) -> None:
        if self._checksums.setdefault(version, checksum) != checksum:
            raise self._differs(f"there are two versions {version}")

    def _swapped(self, _: None, weights: ModelWeights, delta: Delta) -> None:
        process = current_process.get()
        if process is None:
            return
        if self._checksums.get(delta.version) != weights.checksum():
            raise self._differs(f"{process.name}: not the weights that are {delta.version}")
        self._taken.add(delta.version)

    def _followed(self, _: None, follower: Follower, *__: object) -> None:
        process, version = current_process.get(), follower.version
        if process is None or version is None or not self._is_replica(process):
            return
        before, applied = self._newest.get(process, (version, follower.applied))
        if version < before or not _all_dominate(follower.applied, applied):
            raise self._differs(f"{process.name} went back from {before} to {version}")
        self._newest[process] = version, follower.applied

    def _differs(self, problem: str) -> Difference:
        self._difference = Difference(problem)
        return self._difference


def _all_dominate(
    applied: Mapping[int, SourceOffsets], wanted: Mapping[int, SourceOffsets]
) -> bool:
    return all(
        partition in applied and dominates(applied[partition], offsets)
        for partition, offsets in wanted.items()
    )


def _observed(owner: type | ModuleType, name: str, see: Callable[..., None]) -> Callable[..., Any]:
    """Return a function that calls the original, and `see` with its result and arguments."""
    original = vars(owner)[name]

    async def awaited(*args: Any, **kwargs: Any) -> Any:
        result = await original(*args, **kwargs)
        see(result, *args, **kwargs)
        return result

    def called(*args: Any, **kwargs: Any) -> Any:
        result = original(*args, **kwargs)
        see(result, *args, **kwargs)
        return result

    return awaited if inspect.iscoroutinefunction(original) else called


def example_rows(examples: Examples) -> Iterator[Example]:
    """Yield each of `examples` as a tuple that can be counted."""
    for row in range(len(examples)):
        yield (
            examples.offset_range.partition,
            examples.inputs.dense[row].tobytes(),
            examples.inputs.ids[row].tobytes(),
            float(examples.labels[row]),
            int(examples.event_times_ms[row]),
        )
