"""The seams between the parts. Each is implemented at least twice: for real, and in memory.

The loop that ties them (see docs/architecture.md)::

    batches = await source.poll(...)                       # EventSource
    examples, changed_rows = shard.process(batches)        # pure
    await online_store.write(partition, epoch, ...)        # OnlineStore
    progress = await sink.push(gradient)                   # GradientSink   -> learner
    deltas = await parameters.newer_than(version, ...)     # ParameterSource <- learner
    weights.apply(delta)                                   # Follower
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Protocol, TypeAlias

from freshrank.actors.messages import (
    Delta,
    Examples,
    Floats,
    Gradient,
    Inputs,
    Ints,
    Progress,
    RecordBatch,
    RejectedRecord,
    SourceOffsets,
    Version,
)

JsonValue: TypeAlias = (
    "str | int | float | bool | Sequence[JsonValue] | Mapping[str, JsonValue] | None"
)
Status: TypeAlias = Mapping[str, JsonValue]
"""One part's figures for the status table, the page and the metrics: plain JSON."""


class WriteOutcome(Enum):
    """What became of a write to the online store."""

    WRITTEN = "written"
    """All rows are in place."""
    FENCED = "fenced"
    """A newer epoch owns the partition: this writer must stop."""
    LOST = "lost"
    """The store had forgotten the claim (it was flushed): write every row again."""


class EventSource(Protocol):
    """Raw records of the partitions that were assigned by hand (no consumer group)."""

    async def start(self, positions: Mapping[tuple[str, int], int | None]) -> None:
        """Begin reading each (topic, partition) at the offset given (None: the oldest kept)."""
        ...

    async def poll(self, max_records: int, timeout_s: float) -> list[RecordBatch]:
        """The next records, at most one batch a topic partition; [] when none came in time."""
        ...

    def pause(self, topic: str, partition: int) -> None:
        """Fetch nothing more of it until `resume`; polling goes on."""
        ...

    def resume(self, topic: str, partition: int) -> None:
        """Undo `pause`."""
        ...

    def seek(self, topic: str, partition: int, offset: int) -> None:
        """Give `offset` next (records beyond a wanted cut are given back this way)."""
        ...

    async def bounds(self, topic: str, partition: int) -> tuple[int, int]:
        """The offset of the oldest record that is kept, and that of the next to be written.

        Of a partition that was given to `start`. Raises Unavailable.
        """
        ...

    async def lag(self) -> dict[tuple[str, int], int]:
        """How many records each topic partition still holds beyond the position."""
        ...

    def fetch_age_s(self) -> float:
        """Seconds since a fetch was last answered, of the partition that waits longest for that.

        Those that are paused, or whose records lie in memory, wait for nothing; 0 where none waits.
        """
        ...

    async def stop(self) -> None:
        """Leave; safe to call twice."""
        ...


class RecordSink(Protocol):
    """Where records are written: events that came by REST, impressions, dead letters, alerts."""

    async def send(self, topic: str, key: bytes | None, value: bytes) -> tuple[int, int]:
        """Write one record and wait until it is safe; gives (partition, offset).

        Raises BadRecord when it is larger than its topic takes, and Unavailable when it is not
        known to be written: the broker did not answer in time, or refused it.
        """
        ...

    def send_nowait(self, topic: str, key: bytes | None, value: bytes) -> None:
        """Queue one record; a failure is counted in `failures`. Raises Unavailable when full."""
        ...

    async def reject(self, suffix: str, records: Sequence[RejectedRecord]) -> None:
        """Write records to ``<topic><suffix>`` with reason and origin as headers, and wait."""
        ...

    @property
    def failures(self) -> int:
        """How many queued records are lost, or not known to be written."""
        ...


class OnlineStore(Protocol):
    """The derived copy of the entities' state rows, keyed by entity, fenced by epoch."""

    async def claim(self, partition: int, epoch: int) -> SourceOffsets | None:
        """Become the partition's writer: from here on, writes of a lower epoch are refused.

        Gives the highest offsets that were `reached` by the writes so far: no stored row contains
        a record at or beyond them, so a writer that replays writes nothing until it has read up to
        there. None when the store knows nothing of the partition: every row is to be written.
        Raises ProgressError when a higher epoch holds the claim, Unavailable.
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
        """Set each key to its row, in bounded chunks.

        `rows` holds one row a key, of equal width, one after the other: a flush copies and
        sends it as a piece. `reached` are the next offsets of the topics whose events the rows
        contain, as of when the rows were taken. Nothing or a part may have been written when
        Unavailable is raised: write it again.
        """
        ...

    async def remove(self, partition: int, epoch: int, keys: Sequence[bytes]) -> WriteOutcome:
        """Drop the rows of `keys`, where they are; otherwise as `write`."""
        ...

    async def read(self, keys: Sequence[bytes]) -> list[bytes | None]:
        """One batched read; None where nothing is stored. Raises Unavailable."""
        ...


class StatusRegistry(Protocol):
    """Where parts put their figures, and the page and the table find them."""

    async def post(self, part: str, status: Status) -> None:
        """Replace the figures of `part`; they expire by themselves when it is gone."""
        ...

    async def collect(self) -> dict[str, Status]:
        """The figures of all parts that posted lately."""
        ...


@dataclass(frozen=True, slots=True)
class StoredSnapshot:
    """One file that a `SnapshotStore` keeps."""

    place: str
    """Where it lies, for people."""
    read: Callable[[], bytes | bytearray]
    """Gives its contents. Raises SnapshotError when they cannot be read."""


class SnapshotStore(Protocol):
    """Named files that are whole or not there at all, the newest few kept."""

    def save(self, name: str, pieces: Iterable[bytes | memoryview]) -> int:
        """Write, fsync, rename; then prune older ones. Gives the length.

        Raises SnapshotError when that fails; what was there stays.
        """
        ...

    def candidates(self, name: str) -> list[StoredSnapshot]:
        """What is kept under `name`, newest first."""
        ...


class GradientSink(Protocol):
    """The learner, as a shard sees it."""

    async def push(self, work: Gradient | Examples) -> Progress:
        """Offer a span: its gradient, or its examples where the learner differentiates."""
        ...

    async def progress(self, partition: int) -> Progress:
        """What has been applied of `partition`, without offering anything."""
        ...


class ParameterSource(Protocol):
    """The learner, as anything that follows its weights sees it."""

    async def newer_than(
        self, version: Version | None, timeout_s: float, refused: Version | None = None
    ) -> list[Delta]:
        """The deltas that lead from `version` to the newest, in order.

        One snapshot when the log no longer reaches back to `version` (or it is None, or of
        another epoch); [] when nothing newer appeared within `timeout_s`.

        `refused` is the newest version of an answer that did not give the learner's weights: the
        next one begins with a snapshot beyond it, or made after it.
        """
        ...


class Weights(Protocol):
    """A copy of the weights that can follow a learner: what a `Delta` is applied to."""

    @property
    def version(self) -> Version | None:
        """None before the first snapshot."""
        ...

    def apply(self, delta: Delta) -> None:
        """Take a delta whole.

        Raises ProgressError if it does not continue from `version`, and ChecksumMismatch if it
        would not give the learner's weights; then nothing has changed.
        """
        ...

    def replace(self, deltas: Sequence[Delta]) -> None:
        """Take a snapshot and what follows it in the place of all that is held, in one piece.

        Raises as `apply` does; a ProgressError also where it would lead to an older version.
        """
        ...

    @property
    def expected_checksum(self) -> str:
        """What `checksum` should give, kept up with each delta."""
        ...

    def checksum(self) -> str:
        """Of the weights as they are, all of which are read: it takes a while."""
        ...


class Scorer(Protocol):
    """A model bound to weights: rows of inputs in, predictions out."""

    def score(self, inputs: Inputs) -> Floats:
        """float32[n]: the prediction for each row, for most models a probability."""
        ...


class Differentiator(Protocol):
    """A model bound to weights: examples in, their gradient out."""

    def gradient(self, examples: Examples) -> Gradient:
        """The summed loss gradient at the present weights, with their scores."""
        ...

    def freeze_reference(self) -> None:
        """Keep a copy of the present weights, which scores beside them from now on.

        Raises Unavailable before the first snapshot of the weights.
        """
        ...


class ServedFeatures(Protocol):
    """What a replica has to know of the features, without knowing how they are kept."""

    @property
    def context(self) -> Mapping[str, type]:
        """The fields that a candidate carries, with their types (str, int or float).

        The entity's own key is not among them: a request names its entity once.
        """
        ...

    def key(self, entity: str) -> bytes:
        """Under which key the online store holds the entity's row."""
        ...

    def freshness(self, row: bytes | None) -> tuple[int, int]:
        """(event time in ms, offset) of the last event in `row`; (0, -1) without one."""
        ...

    def describe(self, row: bytes | None, at_ms: int) -> Mapping[str, JsonValue]:
        """The named features as of `at_ms`, for people (defaults without a row)."""
        ...

    def inputs(
        self,
        row: bytes | None,
        entity: str,
        candidates: Mapping[str, Sequence[str] | Sequence[float]],
        at_ms: int,
    ) -> Inputs:
        """One input row a candidate; `candidates` holds one column for each context field."""
        ...

    def join_keys(self, candidates: Mapping[str, Sequence[str] | Sequence[float]]) -> Ints:
        """int64[n]: what the joiner recognises each candidate by, for the impression log."""
        ...
