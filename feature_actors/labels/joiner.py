"""The join of what was served with what users then did, whichever topic is read first.

The rule, for one partition. ``W(k)`` is the greatest time among the events before the k-th (the
watermark at its place in the log); the time of an event is here the earlier of its event time and
its record's, so that one producer whose clock is ahead does not make all others late.

- Event k that makes items positive counts if its time is at least ``W(k) - grace``.
- A shown item is positive if an event that counts, of the same entity and join key, lies in
  ``[at, at + within]``; the first one in log order completes the example.
- It is negative once the watermark is beyond ``at + within + grace``: any later event that
  could make it positive is too old to count.
- An impression served more than `MAX_DELAY_MS` before the newest one that precedes it in its
  topic is late: it is not joined.

Each of these depends on the place in one topic only. So the examples between two source offsets
follow from the log alone, however reading the two topics took turns. Label events are kept until no
impression that is still to come could match them.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from freshrank.actors.messages import Inputs, Ints
from freshrank.actors.snapshots.file_format import Array
from freshrank.actors.snapshots.frozen import StateView
from freshrank.feature_actors.labels.examples import LabelledRows
from freshrank.feature_actors.labels.pair_pool import LONG_AGO_MS, PairPool

# How much later than it was served an impression may reach the log, in milliseconds: a
# producer that retries gives up well before.
MAX_DELAY_MS = 300_000


class Joiner:
    """The pending impressions and the label events of one partition.

    Parameters
    ----------
    within_ms, grace_ms
        Of the label's definition (`labels.Joined`).
    dense_width, id_width
        ``d`` and ``f`` of the input layout.
    """

    def __init__(self, within_ms: int, grace_ms: int, dense_width: int, id_width: int) -> None:
        self._within_ms = within_ms
        self._grace_ms = grace_ms
        self._widths = (dense_width, id_width)
        self._pending = PairPool(
            order=np.zeros(0, dtype=np.int64),
            dense=np.zeros((0, dense_width), dtype=np.float32),
            ids=np.zeros((0, id_width), dtype=np.int64),
        )
        self._labels = PairPool()
        self.watermark_ms = LONG_AGO_MS
        """The greatest time of an event so far."""
        self._newest_shown_ms = LONG_AGO_MS
        self._labels_since_ms = LONG_AGO_MS

    @property
    def pending(self) -> int:
        """Shown items that wait for their label."""
        return self._pending.live

    @property
    def labels(self) -> int:
        """Label events that wait for impressions still to come."""
        return self._labels.live

    @property
    def nbytes(self) -> int:
        """Memory held."""
        return self._pending.nbytes + self._labels.nbytes

    def admit(self, at_ms: int, record_ms: int) -> str | None:
        """Why an impression served `at_ms` and logged at `record_ms` is not joined, or None."""
        if abs(record_ms - at_ms) > MAX_DELAY_MS:
            return f"served at {at_ms}, more than {MAX_DELAY_MS} ms from the record's time"
        if at_ms < self._newest_shown_ms - MAX_DELAY_MS:
            return f"served at {at_ms}, more than {MAX_DELAY_MS} ms before an earlier record"
        self._newest_shown_ms = max(self._newest_shown_ms, at_ms)
        return None

    def show(self, pairs: Ints, at_ms: Ints, order: Ints, inputs: Inputs) -> LabelledRows:
        """Take admitted items (axis ``n``, in log order); gives those whose label is known.

        Parameters
        ----------
        pairs
            `pool.pairs_of` entity and join key.
        at_ms
            When each was served.
        order
            The place of each in the impressions topic: greater is later.
        inputs
            What the model scored.
        """
        label_ms = self._labels.lookup(pairs, at_ms, self._within_ms)
        positive = np.flatnonzero(label_ms != LONG_AGO_MS)
        found = LabelledRows(
            order[positive],
            inputs.dense[positive],
            inputs.ids[positive],
            np.ones(len(positive), dtype=np.float32),
            label_ms[positive],
        )
        rest = np.flatnonzero(label_ms == LONG_AGO_MS)
        self._pending.append(
            pairs[rest],
            at_ms[rest],
            order=order[rest],
            dense=inputs.dense[rest],
            ids=inputs.ids[rest],
        )
        self._forget_labels(self._newest_shown_ms - MAX_DELAY_MS)
        return LabelledRows.join([found, self._expire()], *self._widths)

    def happen(self, times_ms: Ints, places: Ints, label_ms: Ints, pairs: Ints) -> LabelledRows:
        """Take events (in log order); gives the shown items whose label is now known.

        Parameters
        ----------
        times_ms
            int64[n], of all events: the earlier of event time and record time.
        places
            int64[m]: which of them make items positive.
        label_ms
            int64[m]: the event times of those.
        pairs
            int64[m]: `pool.pairs_of` the entity and join key of those.
        """
        if len(times_ms) == 0:
            return LabelledRows.none(*self._widths)
        running = np.maximum.accumulate(times_ms)
        before = np.maximum(np.concatenate(([LONG_AGO_MS], running[:-1])), self.watermark_ms)
        counts = label_ms >= before[places] - self._grace_ms
        pairs, label_ms = pairs[counts], label_ms[counts]
        rows, by_ms = self._pending.match(pairs, label_ms, self._within_ms)
        found = self._take(rows, 1.0, by_ms)
        wanted = label_ms >= self._labels_since_ms
        self._labels.append(pairs[wanted], label_ms[wanted])
        self.watermark_ms = max(self.watermark_ms, int(running[-1]))
        return LabelledRows.join([found, self._expire()], *self._widths)

    def all_shown_until(self, at_ms: int) -> None:
        """Whatever was logged up to wall time `at_ms` has been taken: forget older labels.

        Impressions still to come are logged after it, so they were served after it less the
        greatest delay. The watermark bounds it too: where event times are not of today, so
        are the times of the impressions.
        """
        self._forget_labels(min(at_ms, self.watermark_ms) - MAX_DELAY_MS)

    def freeze(self) -> StateView:
        """The state of now, for a snapshot."""
        marks = np.array([self.watermark_ms, self._newest_shown_ms, self._labels_since_ms])
        pools = {"pending": self._pending.freeze(), "labels": self._labels.freeze()}

        def arrays() -> dict[str, Array]:
            made = {
                f"{pool}.{name}": array for pool in pools for name, array in pools[pool]().items()
            }
            return {"marks": marks, **made}

        return arrays

    def load(self, arrays: Mapping[str, Array]) -> None:
        """Become the state whose frozen `arrays` these are."""
        self.watermark_ms, self._newest_shown_ms, self._labels_since_ms = arrays["marks"].tolist()
        for prefix, pool in (("pending.", self._pending), ("labels.", self._labels)):
            own = {k.removeprefix(prefix): v for k, v in arrays.items() if k.startswith(prefix)}
            pool.load(own)

    def _take(self, rows: Ints, label: float, by_ms: Ints) -> LabelledRows:
        columns = self._pending.columns(rows)
        labels = np.full(len(rows), label, dtype=np.float32)
        return LabelledRows(columns["order"], columns["dense"], columns["ids"], labels, by_ms)

    def _expire(self) -> LabelledRows:
        wait_ms = self._within_ms + self._grace_ms
        rows, at_ms = self._pending.older_than(self.watermark_ms - wait_ms)
        return self._take(rows, 0.0, at_ms + wait_ms)

    def _forget_labels(self, before_ms: int) -> None:
        if before_ms > self._labels_since_ms:
            self._labels_since_ms = before_ms
            self._labels.older_than(before_ms)
