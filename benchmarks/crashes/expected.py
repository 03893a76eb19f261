"""The state at the end of a simulated run, which must be the expected one with any crashes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields
from typing import Any

import numpy as np

from freshrank.actors.messages import SourceOffsets
from freshrank.benchmarks.crashes.invariants import Difference, Example
from freshrank.feature_actors.connectors.in_memory.sink import MemorySink
from freshrank.feature_actors.connectors.in_memory.stores import MemoryStore
from freshrank.feature_actors.partition.partition import PartitionState
from freshrank.learner.core import Learner
from freshrank.learner.parameters.weights import ModelWeights


@dataclass(frozen=True)
class FinalState:
    """Everything at the end of a run that must be the same with and without crashes."""

    offsets: dict[int, SourceOffsets]
    features: dict[str, bytes]
    """The row of each entity of each table."""
    stored: dict[bytes, bytes]
    """The rows of the online store."""
    counters: dict[int, dict[str, int]]
    pending: dict[int, list[bytes]]
    """The impressions of each joiner that wait for a label, in the order of the log."""
    event_ids: dict[int, bytes]
    """The event ids that each partition recognises as duplicates."""
    rejected: frozenset[tuple[str, int, int, str]]
    """Topic, partition, offset and reason of each rejected record."""
    examples: Counter[Example]
    """The examples that the learner's weights contain."""
    quarantined: list[str]
    """The offset ranges that the learner's guard refused: `examples` counts them as learned."""
    replica: bool
    """Whether the replica has the learner's weights."""
    weights: dict[str, bytes]
    """The learner's weights, optimiser state, applied offsets and quality."""

    def compare(self, expected: FinalState, *, weights: bool) -> None:
        """Raise Difference unless this state equals `expected` and each example counts once.

        Without `weights` they may differ: in asynchronous runs the order of the steps is free.
        """
        for field in fields(self):
            if field.name == "weights" and not weights:
                continue
            mine, other = getattr(self, field.name), getattr(expected, field.name)
            if mine != other:
                raise Difference(f"{field.name}: {_describe(mine, other)}")
        doubled = [count for count in self.examples.values() if count != 1]
        if doubled:
            raise Difference(f"examples: {len(doubled)} of them learned more than once")


def _describe(mine: Any, expected: Any) -> str:
    """Name the first entries in which two collections differ."""
    if isinstance(mine, dict):
        differ = [key for key in {**expected, **mine} if mine.get(key) != expected.get(key)]
        return f"{len(differ)} of {len(expected)} differ, such as {differ[:3]}"
    return f"{mine!r} is not {expected!r}"


def final_state(
    states: dict[int, PartitionState],
    store: MemoryStore,
    sink: MemorySink,
    core: Learner,
    replica: ModelWeights,
    examples: Counter[Example],
) -> FinalState:
    """Return the present state of a run."""
    return FinalState(
        offsets={partition: state.offsets for partition, state in states.items()},
        features=entity_rows(states.values()),
        stored=dict(store.rows),
        counters={partition: asdict(state.counters) for partition, state in states.items()},
        pending={partition: _pending(state) for partition, state in states.items()},
        event_ids={partition: _event_ids(state) for partition, state in states.items()},
        rejected=frozenset(
            (topic, record.partition, record.offset, record.reason)
            for topic, record in sink.rejected
        ),
        examples=examples,
        quarantined=[str(offset_range) for offset_range in core.quarantine.quarantined],
        replica=replica.checksum() == core.weights.checksum(),
        weights=_weights(core),
    )


def entity_rows(states: Iterable[PartitionState]) -> dict[str, bytes]:
    """Return every row in `states`, by the table's name and the entity's key."""
    found: dict[str, bytes] = {}
    for state in states:
        for table in state.row_tables:
            slots = table.slots()
            named = zip(table.entities(slots), table.rows(slots), strict=True)
            found |= {f"{table.plan.name}/{name}": row.tobytes() for name, row in named}
    return found


def _event_ids(state: PartitionState) -> bytes:
    parts = state.snapshot().parts
    ids = [parts[name]()["ids"] for name in parts if name.startswith("dedup/")]
    return b" ".join(np.sort(one).tobytes() for one in ids)


def _pending(state: PartitionState) -> list[bytes]:
    assert state.joiner is not None  # the pipeline's label is joined
    arrays = state.joiner.freeze()()
    order = np.argsort(arrays["pending.order"])
    marks = arrays["marks"][:2]
    columns = ("pairs", "times", "order", "dense", "ids")
    return [marks.tobytes(), *(arrays[f"pending.{name}"][order].tobytes() for name in columns)]


def _weights(core: Learner) -> dict[str, bytes]:
    table = core.weights.table
    order = np.argsort(table.keys)  # the order of a table's rows is not defined
    quality = core.validation.arrays()
    return {
        "dense": core.trained.dense_state.tobytes(),
        "keys": table.keys[order].tobytes(),
        "rows": table.rows[order].tobytes(),
        "stamps": table.stamps[order].tobytes(),
        "applied": repr(sorted(core.applied.items())).encode(),
        **{f"quality/{name}": array.tobytes() for name, array in quality.items()},
    }
