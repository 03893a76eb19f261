"""Joins the items that were shown with the events that followed, in any order of reading.

The rule, for a partition. All times are the log's (`state.log_clock`), and no producer's, but for
the time at which an item was *shown*: that of the replica's clock, or the time at which the
impression reached the log if that is earlier. ``W(k)`` is the clock of the events' topic at its
k-th event (the watermark); no event reaches the log at an earlier time.

- A shown item is a negative example at once: most are in the end. (Waiting until that is known
  would learn the positives of the last `within` without the negatives beside them: a bias to
  predictions that are too high, until traffic has been steady for as long.) Of a listwise label it
  is none: examples are the lists of items that become positive (`Listwise`).
- It is positive if an event of the same entity and join key that makes items positive
  reaches the log in ``[shown - EARLY_MS, shown + within]``; the first in log order corrects
  the example. An event from before it was shown does not count if it has completed another item
  that was logged earlier: a click on an item is none on the same item in the list that follows.
- It stays negative once the watermark is beyond ``shown + within + grace``.
- An impression of a version before, which does not carry its scores, is no example before it is
  known to be positive or negative.
- An impression that reached the log more than `MAX_DELAY_MS` after it was shown is not joined.
- A tombstone of the entity in the events' topic ends the wait of what was shown until then: no
  event after it makes that positive, and nothing is learned of it then.

Each of these depends on the place in a single topic. So the examples between two source offsets
follow from the log alone, however reading the two topics took turns. Label events are kept until no
impression that is still to come could match them.

A label event that no rule gives to an item is counted by its reason (`Unjoined`). These counts are
of this process: when a label event is given up depends on how reading took turns.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from freshrank.actors.impressions import ServedRows
from freshrank.actors.messages import Bools, Ints
from freshrank.actors.snapshots.file_format import Array
from freshrank.actors.snapshots.frozen import StateView
from freshrank.feature_actors.labels.examples import LabelledRows
from freshrank.feature_actors.labels.forgettings import AHEAD_MS, NEVER_MS, Forgettings
from freshrank.feature_actors.labels.pair_pool import LONG_AGO_MS, PairPool
from freshrank.feature_actors.labels.shown_examples import Listwise, Pointwise, at
from freshrank.feature_actors.labels.unjoined import Unjoined

# How much later than it was served an impression may reach the log, in milliseconds: a
# producer that retries gives up well before.
MAX_DELAY_MS = 300_000

# How much earlier than an item was shown its event may reach the log, in milliseconds: the clocks
# of a replica and of the brokers differ, and impressions are written after the answer.
EARLY_MS = 1_000

# An event that precedes the showing by up to so much is taken for the effect of a wrong clock;
# before that it belongs to another showing.
_NEARLY_MS = 10_000


class Joiner:
    """The pending impressions and the label events of a partition.

    Parameters
    ----------
    within_ms, grace_ms
        Of the label's definition (`labels.Joined`).
    widths
        ``d`` and ``f`` of the input layout.
    listwise
        Of the label's definition: what is learned of shown items.
    """

    PART = "joiner"
    """Its name in snapshots."""

    def __init__(
        self, within_ms: int, grace_ms: int, widths: tuple[int, int], *, listwise: bool = False
    ) -> None:
        self._within_ms = within_ms
        self._grace_ms = grace_ms
        self._wait_ms = within_ms + grace_ms
        self._widths = dense_width, id_width = widths
        self._no_rows = LabelledRows.none(dense_width, id_width)
        self._pending = PairPool(
            order=np.zeros(0, dtype=np.int64),
            entity=np.zeros(0, dtype=np.int64),
            dense=np.zeros((0, dense_width), dtype=np.float32),
            ids=np.zeros((0, id_width), dtype=np.int64),
            served=np.zeros(0, dtype=np.float32),
        )
        flag = np.zeros(0, dtype=np.bool_)
        # Spent: it has completed an item. Accounted: spent, or counted as unjoined.
        self._labels = PairPool(accounted=flag, spent=flag)
        self.unjoined = Unjoined()
        self._examples = Listwise(self.unjoined) if listwise else Pointwise()
        self.watermark_ms = LONG_AGO_MS
        """The clock of the events' topic."""
        self._shown_clock_ms = LONG_AGO_MS
        """The clock of the impressions' topic."""
        self._labels_since_ms = LONG_AGO_MS
        self._newest_label_ms = LONG_AGO_MS
        """The greatest time of a label event or a tombstone."""
        self.forgotten = Forgettings()
        """The tombstones of which something may be read that was shown before."""

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

    def show(
        self,
        entities: Ints,
        pairs: Ints,
        shown_ms: Ints,
        order: Ints,
        rows: ServedRows,
        clock_ms: int,
    ) -> LabelledRows:
        """Take shown items (axis ``n``, in log order); gives their examples.

        Parameters
        ----------
        entities
            The hash of each one's entity.
        pairs
            `pool.pairs_of` entity and join key.
        shown_ms
            When each was shown, at most `MAX_DELAY_MS` before its record reached the log.
        order
            The place of each in the impressions topic: greater is later.
        rows
            What the model scored, and its scores.
        clock_ms
            The clock of the impressions' topic.
        """
        forgotten_ms, clock_then_ms = self.forgotten.of_shown(entities, shown_ms)
        early_ms = shown_ms - EARLY_MS
        until_ms = np.minimum(shown_ms + self._within_ms, forgotten_ms)
        labels = self._labels.first_unspent(pairs, early_ms, shown_ms, until_ms, "spent")
        positive, rest = np.flatnonzero(labels >= 0), np.flatnonzero(labels < 0)
        self._labels.column("accounted")[labels[positive]] = True
        shown: dict[str, Array] = {
            "order": order,
            "entity": entities,
            "dense": rows.inputs.dense,
            "ids": rows.inputs.ids,
            "served": rows.scores,
        }
        negative = self._examples.shown(shown, shown_ms)
        events = labels[positive]
        found = self._examples.at_once(shown, positive, events, self._labels.times(events))
        self._count_early(pairs[rest], shown_ms[rest])
        # What was forgotten waits no more; but what was known to be negative by then is.
        waits = (forgotten_ms == NEVER_MS) | (shown_ms < clock_then_ms - self._wait_ms)
        rest = rest[waits[rest]]
        self._pending.append(pairs[rest], shown_ms[rest], **at(shown, rest))
        self._shown_clock_ms = max(self._shown_clock_ms, clock_ms)
        self._forget_labels(self._shown_clock_ms)
        return LabelledRows.join([negative, found, self._expire()], *self._widths)

    def happen(self, clock_ms: Ints, label_ms: Ints, pairs: Ints) -> LabelledRows:
        """Take events (in log order); gives the shown items whose label is now known.

        Parameters
        ----------
        clock_ms
            int64[n]: the log's clock at each event; it never goes back.
        label_ms
            int64[m]: when those events that make items positive reached the log, each no earlier
            than the clock just before it, and later than the tombstones (`Forgettings.later`).
        pairs
            int64[m]: `pool.pairs_of` the entity and join key of those.
        """
        if len(clock_ms) == 0:
            return self._no_rows
        self._newest_label_ms = max(self._newest_label_ms, int(label_ms.max(initial=LONG_AGO_MS)))
        found = [self._complete(label_ms, pairs)] if len(pairs) else []
        self.watermark_ms = max(self.watermark_ms, int(clock_ms[-1]))
        return LabelledRows.join([*found, self._expire()], *self._widths)

    def forget(self, entity: int, log_ms: int, clock_ms: int) -> LabelledRows:
        """Take the tombstone of an entity (its hash); gives what is known to be negative by now.

        It reached the log of the events at `log_ms`, and the clock just after it is `clock_ms`.
        """
        self.watermark_ms = max(self.watermark_ms, clock_ms)
        known = self._expire()
        # Later than all label events so far, so that times tell what came before it.
        self._newest_label_ms = until_ms = max(self._newest_label_ms, log_ms)
        self._pending.take_with("entity", entity, until_ms + AHEAD_MS)
        self.forgotten.add(entity, until_ms, self.watermark_ms)
        return known

    def all_shown_until(self, at_ms: int) -> None:
        """Whatever was logged up to wall time `at_ms` has been taken: forget older labels.

        The watermark bounds it too: where the log's times are not of today, so are those of the
        impressions.
        """
        self._forget_labels(min(at_ms, self.watermark_ms))

    def freeze(self) -> StateView:
        """The state of now, for a snapshot."""
        clocks = self.watermark_ms, self._shown_clock_ms
        marks = np.array([*clocks, self._labels_since_ms, self._newest_label_ms])
        forgotten = self.forgotten.array()
        pools = {"pending": self._pending.freeze(), "labels": self._labels.freeze()}

        def arrays() -> dict[str, Array]:
            made = {
                f"{pool}.{name}": array for pool in pools for name, array in pools[pool]().items()
            }
            return {"marks": marks, "forgotten": forgotten, **made}

        return arrays

    def load(self, arrays: Mapping[str, Array]) -> None:
        """Become the state whose frozen `arrays` these are."""
        marks = arrays["marks"].tolist()
        self.watermark_ms, self._shown_clock_ms, self._labels_since_ms = marks[:3]
        self._newest_label_ms = marks[3] if len(marks) > 3 else LONG_AGO_MS  # files of before
        self.forgotten.load(arrays, "forgotten")
        if "pending.served" not in arrays:
            unknown = np.full(len(arrays["pending.pairs"]), np.nan, dtype=np.float32)
            arrays = {**arrays, "pending.served": unknown}
        for prefix, pool in (("pending.", self._pending), ("labels.", self._labels)):
            own = {k.removeprefix(prefix): v for k, v in arrays.items() if k.startswith(prefix)}
            pool.load(own)

    def _complete(self, label_ms: Ints, pairs: Ints) -> LabelledRows:
        """Take label events (see `happen`); gives the items that they make positive."""
        since_ms, until_ms = label_ms - self._within_ms, label_ms + EARLY_MS
        rows, labels = self._pending.match(pairs, since_ms, label_ms, until_ms)
        found = self._examples.positive(self._pending, rows, label_ms[labels])
        spent = np.zeros(len(pairs), dtype=np.bool_)
        spent[labels] = True
        accounted = spent.copy()
        self.unjoined.label_events_read += len(pairs)
        self._count_late(pairs, label_ms, accounted)
        wanted = label_ms >= self._labels_since_ms
        self._labels.append(
            pairs[wanted], label_ms[wanted], accounted=accounted[wanted], spent=spent[wanted]
        )
        self._count_not_shown(accounted[~wanted])
        return found

    def _expire(self) -> LabelledRows:
        """Forget items whose time is over; gives those that are not learned as negative yet."""
        rows, shown_ms = self._pending.older_than(self.watermark_ms - self._wait_ms)
        if not len(rows):
            return self._no_rows
        return self._examples.expired(self._pending, rows, shown_ms + self._wait_ms)

    def _count_late(self, pairs: Ints, label_ms: Ints, accounted: Bools) -> None:
        """Count label events, not `accounted`, whose item waits but was shown too long ago."""
        if accounted.all():
            return
        unaccounted = np.flatnonzero(~accounted)
        until_ms = label_ms[unaccounted] - self._within_ms - 1
        late = self._pending.lookup(pairs[unaccounted], until_ms - self._grace_ms, until_ms) >= 0
        accounted[unaccounted[late]] = True
        self.unjoined.label_late += int(late.sum())

    def _count_early(self, pairs: Ints, shown_ms: Ints) -> None:
        """Count unaccounted label events from just before items were shown, which are negative."""
        until_ms = shown_ms - EARLY_MS - 1
        rows = self._labels.lookup(pairs, until_ms - _NEARLY_MS, until_ms)
        accounted = self._labels.column("accounted")
        rows = np.unique(rows[rows >= 0])
        rows = rows[~accounted[rows]]
        accounted[rows] = True
        self.unjoined.label_early += len(rows)

    def _forget_labels(self, clock_ms: int) -> None:
        """Forget labels that no impression could match which reaches the log from now on."""
        before_ms = clock_ms - MAX_DELAY_MS - EARLY_MS
        if before_ms > self._labels_since_ms:
            self._labels_since_ms = before_ms
            rows, _ = self._labels.older_than(before_ms)
            self._count_not_shown(self._labels.columns(rows)["accounted"])
        self.forgotten.drop(min(self._labels_since_ms, self.watermark_ms))

    def _count_not_shown(self, accounted: Bools) -> None:
        """Count label events that are given up, unless they were `accounted` bool[m] of before."""
        if self._shown_clock_ms != LONG_AGO_MS:
            self.unjoined.label_not_shown += int((~accounted).sum())
