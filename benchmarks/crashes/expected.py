"""What the simulation knows better than the parts themselves, and how two runs are compared."""

from __future__ import annotations

import inspect
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields
from types import ModuleType
from typing import Any, TypeAlias

import numpy as np

from freshrank.actors.messages import (
    Delta,
    Examples,
    Gradient,
    OffsetRange,
    Progress,
    SourceOffsets,
    Version,
    dominates,
)
from freshrank.actors.parameters.follower import Follower
from freshrank.actors.protocols import SnapshotStore
from freshrank.benchmarks.crashes.crash_points import Process, replaced, running
from freshrank.feature_actors.connectors.in_memory.log import MemorySink
from freshrank.feature_actors.connectors.in_memory.stores import MemoryStore
from freshrank.feature_actors.partition.partition import PartitionState
from freshrank.learner import checkpoints
from freshrank.learner.checkpoints import Restored
from freshrank.learner.core import Learner
from freshrank.learner.gradients.compiled import CompiledDifferentiator
from freshrank.learner.parameters.weights import ModelWeights

Example: TypeAlias = tuple[int, bytes, bytes, float, int]
"""Partition, dense inputs, ids, label, event time: no two of the stream are the same."""


class Difference(AssertionError):
    """A run with crashes did not do what the undisturbed one does."""


class InvariantChecker:
    """What the weights contain, told from outside: each example, and a checksum of each version.

    Parameters
    ----------
    is_replica
        Whose answers must never go back.
    """

    def __init__(self, is_replica: Callable[[Process], bool]) -> None:
        self._is_replica = is_replica
        self._made: dict[int, tuple[Gradient, Examples]] = {}
        self._offered: list[tuple[OffsetRange, Examples]] = []
        self._learned: list[tuple[int, Examples]] = []
        self._checksums: dict[Version, str] = {}
        self._found: Difference | None = None
        self._newest: dict[Process, tuple[Version, Mapping[int, SourceOffsets]]] = {}

    def examples(self) -> Counter[Example]:
        """All that the learner's weights contain, with how often."""
        return Counter(one for _, examples in self._learned for one in _rows(examples))

    def check(self) -> None:
        """Raise what was found so far, whoever it was first raised to. Raises Difference."""
        if self._found is not None:
            raise self._found

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Within, the ledger sees what the parts do."""
        watched: list[tuple[type | ModuleType, str, Callable[..., None]]] = [
            (CompiledDifferentiator, "gradient", self._differentiated),
            (Learner, "offer", self._aggregated),
            (Learner, "step", self._stepped),
            (checkpoints, "restore", self._restored),
            (ModelWeights, "apply", self._swapped),
            (Follower, "step", self._followed),
        ]
        with replaced((owner, name, _seen(owner, name, see)) for owner, name, see in watched):
            yield

    def _differentiated(self, gradient: Gradient, _: object, examples: Examples) -> None:
        self._made[id(gradient)] = gradient, examples  # kept, so that no other gets its id

    def _aggregated(self, progress: Progress, _: Learner, work: Gradient, *__: object) -> None:
        if progress.accepted:
            self._offered.append((work.offset_range, self._made[id(work)][1]))

    def _stepped(self, delta: Delta | None, core: Learner, *_: object) -> None:
        if delta is None:
            return
        self._learned += [(core.trained.total_steps, examples) for _, examples in self._offered]
        self._offered = []
        self._publish(delta.version, core.weights.checksum())

    def _restored(self, _: Restored, core: Learner, __: SnapshotStore) -> None:
        self._offered = []
        self._learned = [one for one in self._learned if one[0] <= core.trained.total_steps]
        self._publish(core.version, core.weights.checksum())

    def _publish(self, version: Version, checksum: str) -> None:
        if self._checksums.setdefault(version, checksum) != checksum:
            raise self._differs(f"two versions {version}")

    def _swapped(self, _: None, weights: ModelWeights, delta: Delta) -> None:
        process = running.get()
        if process is None:
            return
        if self._checksums.get(delta.version) != weights.checksum():
            raise self._differs(f"{process.name}: not the weights that are {delta.version}")

    def _differs(self, what: str) -> Difference:
        self._found = Difference(what)
        return self._found

    def _followed(self, _: None, follower: Follower, *__: object) -> None:
        process, version = running.get(), follower.version
        if process is None or version is None or not self._is_replica(process):
            return
        before, applied = self._newest.get(process, (version, follower.applied))
        if version < before or not _contains(follower.applied, applied):
            raise self._differs(f"{process.name} went back from {before} to {version}")
        self._newest[process] = version, follower.applied


def _contains(have: Mapping[int, SourceOffsets], wanted: Mapping[int, SourceOffsets]) -> bool:
    return all(one in have and dominates(have[one], cut) for one, cut in wanted.items())


def _seen(owner: type | ModuleType, name: str, see: Callable[..., None]) -> Callable[..., Any]:
    original = vars(owner)[name]

    async def seen_later(*args: Any, **kwargs: Any) -> Any:
        result = await original(*args, **kwargs)
        see(result, *args, **kwargs)
        return result

    def seen(*args: Any, **kwargs: Any) -> Any:
        result = original(*args, **kwargs)
        see(result, *args, **kwargs)
        return result

    return seen_later if inspect.iscoroutinefunction(original) else seen


def _rows(examples: Examples) -> Iterator[Example]:
    for row in range(len(examples)):
        yield (
            examples.offset_range.partition,
            examples.inputs.dense[row].tobytes(),
            examples.inputs.ids[row].tobytes(),
            float(examples.labels[row]),
            int(examples.event_times_ms[row]),
        )


@dataclass(frozen=True)
class FinalState:
    """Where a run ended: whatever has to be the same with and without crashes."""

    offsets: dict[int, SourceOffsets]
    features: dict[str, bytes]
    """The row of each entity."""
    stored: dict[bytes, bytes]
    """The rows of the online store."""
    counters: dict[int, dict[str, int]]
    pending: dict[int, list[bytes]]
    """What waits for its label in each joiner, in the order of the log."""
    seen: dict[int, bytes]
    """The event ids that each partition would recognise."""
    rejected: frozenset[tuple[str, int, int, str]]
    """Topic, partition, offset and reason of each useless record."""
    examples: Counter[Example]
    quarantined: list[str]
    """What the learner's guard refused; the ledger takes such examples for learned."""
    replica: bool
    """Whether it has the learner's weights."""
    weights: dict[str, bytes]
    """Those of the learner, its optimiser's state, how far each partition is in them, and how
    good they were."""

    def compare(self, wanted: FinalState, *, weights: bool) -> None:
        """Raise Difference unless all is as `wanted`; in asynchronous runs the weights may vary."""
        for one in fields(self):
            if one.name == "weights" and not weights:
                continue
            mine, its = getattr(self, one.name), getattr(wanted, one.name)
            if mine != its:
                raise Difference(f"{one.name}: {_where(mine, its)}")
        often = [count for count in self.examples.values() if count != 1]
        if often:
            raise Difference(f"examples: {len(often)} of them learned more than once")


def _where(mine: Any, its: Any) -> str:
    """The first few entries in which two collections differ."""
    if isinstance(mine, dict):
        differ = [key for key in {**its, **mine} if mine.get(key) != its.get(key)]
        return f"{len(differ)} of {len(its)} differ, such as {differ[:3]}"
    return f"{mine!r} is not {its!r}"


def final_state(
    states: dict[int, PartitionState],
    store: MemoryStore,
    sink: MemorySink,
    core: Learner,
    replica: ModelWeights,
    ledger: InvariantChecker,
) -> FinalState:
    """The present state of a run as its end."""
    features: dict[str, bytes] = {}
    seen: dict[int, bytes] = {}
    for partition, state in states.items():
        slots = state.table.slots()
        rows = state.table.rows(slots)
        features |= {
            name: row.tobytes() for name, row in zip(state.table.entities(slots), rows, strict=True)
        }
        seen[partition] = np.sort(state.snapshot().parts["dedup"]()["ids"]).tobytes()
    return FinalState(
        offsets={one: state.offsets for one, state in states.items()},
        features=features,
        stored=dict(store.rows),
        counters={one: asdict(state.counters) for one, state in states.items()},
        pending={one: _pending(state) for one, state in states.items()},
        seen=seen,
        rejected=frozenset(
            (topic, one.partition, one.offset, one.reason) for topic, one in sink.rejected
        ),
        examples=ledger.examples(),
        quarantined=[str(one) for one in core.quarantine.quarantined],
        replica=replica.checksum() == core.weights.checksum(),
        weights=_weights(core),
    )


def _pending(state: PartitionState) -> list[bytes]:
    assert state.joiner is not None  # the label is joined
    arrays = state.joiner.freeze()()
    order = np.argsort(arrays["pending.order"])
    marks = arrays["marks"][:2]
    columns = ("pairs", "times", "order", "dense", "ids")
    return [marks.tobytes(), *(arrays[f"pending.{name}"][order].tobytes() for name in columns)]


def _weights(core: Learner) -> dict[str, bytes]:
    table = core.weights.table
    order = np.argsort(table.keys)
    return {
        "dense": core.trained.dense_state.tobytes(),
        "keys": table.keys[order].tobytes(),
        "rows": table.rows[order].tobytes(),
        "stamps": table.stamps[order].tobytes(),
        "applied": repr(sorted(core.applied.items())).encode(),
        **{f"quality/{name}": one.tobytes() for name, one in core.validation.arrays().items()},
    }
