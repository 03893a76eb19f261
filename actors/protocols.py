"""The protocols between components, each implemented over a real system and in memory.

How they work together (docs/architecture.md follows one event)::
    batches = await source.poll(...)                       # EventSource
    examples, changed_rows = shard.process(batches)        # pure
    await online_store.write(partition, epoch, ...)        # OnlineStore
    progress = await sink.push(gradient)                   # GradientSink   -> learner
    deltas = await parameters.newer_than(version, ...)     # ParameterSource <- learner
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import NamedTuple, Protocol, TypeAlias

from freshrank.actors.errors import BadRecord
from freshrank.actors.messages import Examples, Floats, Gradient, Inputs, SourceOffsets, Version
from freshrank.actors.records import DeletedRecords, RecordBatch, RejectedRecord, TopicIdentity

JsonValue: TypeAlias = "str|int|float|bool|Sequence[JsonValue]|Mapping[str, JsonValue]|None"
Status: TypeAlias = Mapping[str, JsonValue]
"""The metrics and the health of a part, as JSON: for the driver's table, the page, /metrics."""


class WriteOutcome(Enum):
    """The result of a write to the online store."""

    WRITTEN = "written"
    """All rows are written."""
    FENCED = "fenced"
    """A writer of a newer epoch owns the partition: this writer has to stop."""
    LOST = "lost"
    """The store has lost the claim (it was flushed): every row has to be written again."""


class StoreRead(NamedTuple):
    """The answer of the online store to a read."""

    rows: list[bytes | None]
    """The row of each key; None without a row."""
    filled: int
    """Partitions all of whose rows are in the store (`OnlineStore.mark_filled`)."""


class EventSource(Protocol):
    """Reads records of partitions that are assigned by hand, without a consumer group."""

    async def start(self, positions: Mapping[tuple[str, int], int | None]) -> None:
        """Begin to read each (topic, partition) at the given offset; None: at the oldest record.

        Raises Unavailable, and ConfigError where a partition ends before the given offset.
        """
        ...

    async def poll(self, max_records: int, timeout_s: float) -> list[RecordBatch]:
        """The next records, at most `max_records`, in one batch for each topic and partition.

        Empty when none arrived within `timeout_s`. Raises Unavailable.
        """
        ...

    def take_deleted(self) -> list[DeletedRecords]:
        """What was deleted before it was read, since the last call; reading goes on after it.

        `start` and `poll` notice it. Offsets that are missing for another reason (compaction, the
        markers of transactions) are not among it.
        """
        ...

    def pause(self, topic: str, partition: int) -> None:
        """Stop fetching this partition until `resume`; others are still polled."""
        ...

    def resume(self, topic: str, partition: int) -> None:
        """Undo `pause`."""
        ...

    def seek(self, topic: str, partition: int, offset: int) -> None:
        """Continue this partition at `offset`: the next poll begins with that record."""
        ...

    async def bounds(self, topic: str, partition: int) -> tuple[int, int]:
        """The offset of the oldest record, and the offset that the next record will get.

        The partition must have been given to `start`. Raises Unavailable.
        """
        ...

    async def lag(self) -> dict[tuple[str, int], int]:
        """By topic and partition: how many records lie beyond the position. Raises Unavailable."""
        ...

    async def identities(self, topics: Sequence[str]) -> Mapping[str, TopicIdentity]:
        """The identities of those `topics` that exist at present. Raises Unavailable."""
        ...

    def fetch_age_s(self) -> float:
        """Seconds since the broker answered a fetch, for the partition that has waited longest.

        A partition that is paused or has fetched records left does not wait; 0 if none waits.
        """
        ...

    async def stop(self) -> None:
        """Close the connection; may be called twice."""
        ...


class RecordSink(Protocol):
    """Writes records: what requests post and delete, impressions, dead letters, alerts."""

    async def send(self, topic: str, key: bytes | None, value: bytes | None) -> tuple[int, int]:
        """Write a record (a tombstone without a `value`) and wait until it is replicated.

        Returns (partition, offset).

        Raises BadRecord when the record is larger than its topic takes, and Unavailable when the
        broker refused it or did not answer in time: it may have been written then.
        """
        ...

    async def send_all(
        self, topic: str, records: Sequence[tuple[bytes, bytes]]
    ) -> list[BadRecord | None]:
        """Write records (key, value), and wait until they are replicated.

        Gives for each None, or why the topic does not take it: it is too large. Raises Unavailable
        when one is not known to be written; any of them may have been then.
        """
        ...

    def send_nowait(self, topic: str, key: bytes | None, value: bytes) -> None:
        """Queue a record; a later failure is counted in `failures`.

        Raises Unavailable when the queue is full.
        """
        ...

    async def reject(self, suffix: str, records: Sequence[RejectedRecord]) -> None:
        """Write each record to ``<topic><suffix>``, with reason and origin as headers, and wait.

        Raises Unavailable.
        """
        ...

    @property
    def failures(self) -> int:
        """The number of queued records that are lost, or may be lost."""
        ...


class OnlineStore(Protocol):
    """A copy of the state rows of entities; writers are fenced by epoch."""

    async def claim(self, partition: int, epoch: int) -> SourceOffsets | None:
        """Become the partition's writer: from now on, writes of a lower epoch are refused.

        Returns the highest offsets that earlier writes have `reached`: no stored row contains a
        record at or beyond them, so a replaying writer writes nothing until it has read up to
        there. None when the store has no claim of this partition: every row has to be written.
        Raises ProgressError when a higher epoch holds the claim, and Unavailable.
        """
        ...

    async def write(
        self,
        partition: int,
        epoch: int,
        reached: SourceOffsets,
        keys: Sequence[bytes],
        rows: bytes | memoryview,
    ) -> WriteOutcome:
        """Set each key to its row, in chunks of bounded size.

        `rows` holds the rows of `keys`, of equal width, one after the other. `reached` has, by
        topic, the offset after the last event that the rows contain. Raises Unavailable: then
        none, some or all rows are written, and the call has to be repeated.
        """
        ...

    async def remove(self, partition: int, epoch: int, keys: Sequence[bytes]) -> WriteOutcome:
        """Delete the rows of `keys` that exist; fenced and repeated as `write`."""
        ...

    async def refresh(self, partition: int, epoch: int, keys: Sequence[bytes]) -> list[int]:
        """Keep the rows of `keys` from expiring; returns the places of keys without a row.

        Rows expire at their time unless they are written or refreshed. For a writer that has lost
        the claim it does nothing and returns no place. Raises Unavailable.
        """
        ...

    async def mark_filled(self, partition: int, epoch: int) -> WriteOutcome:
        """Note that every row of the partition is in the store; fenced as `write`.

        It holds as long as the claim: the store forgets both together. Raises Unavailable.
        """
        ...

    async def evicted(self) -> int:
        """The keys that the store has removed to make room, since its start. Raises Unavailable."""
        ...

    async def read(self, keys: Sequence[bytes]) -> StoreRead:
        """The row of each key, by one batched read. Raises Unavailable."""
        ...


class StatusRegistry(Protocol):
    """Where parts post their statuses, and the page and the driver's table read them."""

    async def post(self, part: str, status: Status) -> None:
        """Replace the status of `part`, which expires unless it is posted again.

        Raises Unavailable.
        """
        ...

    async def withdraw(self, part: str) -> None:
        """Remove the status of `part`, which ends; nothing where there is none.

        Raises Unavailable.
        """
        ...

    async def collect(self) -> dict[str, Status]:
        """By part: the statuses that have not expired. Raises Unavailable."""
        ...


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a learner has come with a partition: its answer to every push."""

    accepted: bool
    """Whether the pushed offset range was taken (True for a question without a push)."""
    stale: bool
    """Whether it was refused because `Gradient.base` is older than the staleness bound allows."""
    applied: SourceOffsets
    """The next offset range must begin here. Empty: the learner has no example of the partition."""
    durable: SourceOffsets
    """A checkpoint on disk contains every example below; shards need not keep those."""
    version: Version


class GradientSink(Protocol):
    """The learner, as a shard sees it."""

    async def push(self, work: Gradient | Examples) -> Progress:
        """Offer the gradient of an offset range, or its examples where the learner differentiates.

        Raises Unavailable: then the offer may have been accepted or not.
        """
        ...

    async def progress(self, partition: int) -> Progress:
        """The learner's progress with `partition`. Raises Unavailable."""
        ...


class Scorer(Protocol):
    """A model bound to weights: rows of inputs in, predictions out."""

    def score(self, inputs: Inputs) -> Floats:
        """float32[n]: the prediction for each row, for most models a probability.

        Of a model of ``c`` classes float32[n, c]: the probability of each.
        """
        ...


class Differentiator(Protocol):
    """A model bound to weights: examples in, their gradient out."""

    def gradient(self, examples: Examples) -> Gradient:
        """The summed gradient of the loss at the present weights, and the examples' scores."""
        ...

    def freeze_reference(self) -> None:
        """Keep a copy of the present weights as the reference model, scored from now on too.

        Raises Unavailable before the first snapshot of the weights.
        """
        ...
