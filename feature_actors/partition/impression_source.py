"""The impressions of a partition: decoded, dated, and joined with the events that label them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from freshrank.actors.impressions import ServedRows
from freshrank.actors.messages import Inputs, Ints
from freshrank.actors.records import RecordBatch, RejectedRecord, RejectKind
from freshrank.actors.snapshots.file_format import Array
from freshrank.actors.snapshots.frozen import StateView
from freshrank.feature_actors.labels.examples import LabelledRows
from freshrank.feature_actors.labels.forgettings import NEVER_MS
from freshrank.feature_actors.labels.joiner import EARLY_MS, MAX_DELAY_MS, Joiner
from freshrank.feature_actors.labels.pair_pool import pairs_of
from freshrank.feature_actors.partition.arrival.impression_decoder import (
    ImpressionDecoder,
    ShownItems,
)
from freshrank.feature_actors.partition.outcome import Counters, Outcome
from freshrank.feature_actors.partition.placement import Placement
from freshrank.feature_actors.partition.snapshot import part_of
from freshrank.feature_actors.state.dedup import Deduplicator
from freshrank.feature_actors.state.log_clock import LATEST_MS, LogClock, LogTimes

# An impression that reaches the log so much later than it was served, in milliseconds, was delayed,
# or its replica's clock is behind: usual are some tens.
_USUAL_DELAY_MS = 10_000
# Ids of impressions that may be repeated, of the last `MAX_DELAY_MS`: about 3 MB.
_MOST_REPEATS = 100_000
_REPEATS = "repeats"


class ImpressionSource:
    """The topic of what was served: its decoder, and the join that its records go into.

    What follows from the records does not depend on where batches end. Of impressions whose request
    was repeated the first one counts.
    """

    def __init__(
        self, decoder: ImpressionDecoder, joiner: Joiner, counters: Counters, placement: Placement
    ) -> None:
        self._decoder = decoder
        self._joiner = joiner
        self._counters = counters
        self._placement = placement
        self._clock = LogClock()
        self._repeats = Deduplicator(MAX_DELAY_MS, _MOST_REPEATS)

    def take(
        self, batch: RecordBatch, begin: int, end: int, outcome: Outcome
    ) -> list[LabelledRows]:
        """Take the records with ``begin <= offset < end``; gives the examples they complete."""
        decoded, undecodable = self._decoder.decode(batch)
        decoded, misplaced = self._without_misplaced(batch, decoded)
        rejected = undecodable + misplaced
        shown_ms, times = self._date(batch, decoded)
        log_ms = times.log_ms
        # Their features say nothing of the user: a model must not learn that zeros are usual.
        outage = np.array([items.outage for items in decoded], dtype=np.bool_)
        late = (log_ms - shown_ms > MAX_DELAY_MS) & ~outage
        for place in np.flatnonzero(late).tolist():
            rejected.append(_rejected(batch, decoded[place], int(log_ms[place])))
        admitted = self._first_of_each(decoded, np.flatnonzero(~late & ~outage), times)
        shown = [decoded[place] for place in admitted.tolist()]
        entities = np.array([items.entity for items in shown], dtype=np.int64)
        forgotten_ms = self._joiner.forgotten.of_shown(entities, shown_ms[admitted])[0]
        # They are learned from, as if they had been read before the tombstone: forget them again.
        again = np.flatnonzero(forgotten_ms != NEVER_MS).tolist()
        outcome.forgotten.extend(shown[place].name for place in again)
        rows = _join(self._joiner, shown, shown_ms[admitted], self._clock.now_ms)
        outcome.dead.extend(sorted(rejected, key=lambda record: record.offset))
        self._counters.impressions += len(shown)
        self._counters.impressions_carried += sum(one.carried for one in shown)
        self._counters.impressions_outage += int(outage.sum())
        return [] if rows is None else [rows]

    def freeze(self) -> StateView:
        """The state of now, for a snapshot."""
        clock, repeats = self._clock.freeze(), self._repeats.freeze()
        return lambda: {
            **clock(),
            **{f"{_REPEATS}/{name}": array for name, array in repeats().items()},
        }

    def load(self, arrays: Mapping[str, Array]) -> None:
        """Become the state whose frozen `arrays` these are."""
        self._clock.load(arrays)
        if repeats := part_of(arrays, _REPEATS):
            self._repeats = Deduplicator.restore(MAX_DELAY_MS, _MOST_REPEATS, repeats)

    def _first_of_each(self, shown: Sequence[ShownItems], places: Ints, times: LogTimes) -> Ints:
        """int64[m]: `places` int64[n] without impressions that repeat one from before."""
        ids = np.array([shown[place].repeats for place in places.tolist()], dtype=np.int64)
        named = np.flatnonzero(ids)
        if not len(named):
            return places
        kept = np.ones(len(places), dtype=np.bool_)
        at = places[named]
        kept[named] = self._repeats.fresh(ids[named], times.log_ms[at], times.clock_ms[at])
        self._counters.impressions_repeated += int((~kept).sum())
        return places[kept]

    def _without_misplaced(
        self, batch: RecordBatch, shown: list[ShownItems]
    ) -> tuple[list[ShownItems], list[RejectedRecord]]:
        """The impressions whose entities belong to this partition, and the records of the others.

        Their events are in another partition: their items would all become negative examples.
        """
        faults = {at.place: at for at in self._placement.faults([one.name for one in shown])}
        rejected = [
            batch.rejected(shown[at].place, fault.reason, RejectKind.IMPRESSION_MISPLACED)
            for at, fault in faults.items()
        ]
        return [one for at, one in enumerate(shown) if at not in faults], rejected

    def _date(self, batch: RecordBatch, shown: Sequence[ShownItems]) -> tuple[Ints, LogTimes]:
        """When each was shown, and when it reached the log.

        It was shown before it reached the log, so a replica's clock that is ahead is recognised.
        """
        places = np.array([items.place for items in shown], dtype=np.int64)
        entities = np.array([items.entity for items in shown], dtype=np.int64)
        stamps_ms, by_broker = batch.timestamps_ms[places], batch.stamped_by_broker[places]
        times = self._clock.advance(entities, stamps_ms, by_broker)
        dated = [min(max(items.at_ms, 0), LATEST_MS) for items in shown]  # any integer may come
        at_ms = np.array(dated, dtype=np.int64)
        delays_ms = times.log_ms - at_ms
        self._counters.shown_ahead += int((delays_ms < -EARLY_MS).sum())
        behind = (delays_ms > _USUAL_DELAY_MS) & (delays_ms <= MAX_DELAY_MS)
        self._counters.shown_behind += int(behind.sum())
        return np.minimum(at_ms, times.log_ms), times


def _join(
    joiner: Joiner, shown: Sequence[ShownItems], shown_ms: Ints, clock_ms: int
) -> LabelledRows | None:
    """The items whose label is known with these impressions.

    `shown_ms` int64[i] is when each was shown, `clock_ms` the clock of their topic.
    """
    if not shown:
        return None
    counts = [len(items.keys) for items in shown]
    served = ServedRows(
        np.concatenate([items.keys for items in shown]),
        Inputs(
            np.concatenate([items.inputs.dense for items in shown]),
            np.concatenate([items.inputs.ids for items in shown]),
        ),
        np.concatenate([items.scores for items in shown]),
    )
    entities = np.repeat(np.array([items.entity for items in shown], dtype=np.int64), counts)
    return joiner.show(
        entities,
        pairs_of(entities, served.join_keys),
        np.repeat(shown_ms, counts),
        np.concatenate([items.order for items in shown]),
        served,
        clock_ms,
    )


def _rejected(batch: RecordBatch, items: ShownItems, log_ms: int) -> RejectedRecord:
    late_s = (log_ms - items.at_ms) / 1000
    reason = (
        f"served at {items.at_ms}, {late_s:.0f} s before the record reached the log: "
        f"more than {MAX_DELAY_MS // 1000} s, so the events that label it may be forgotten"
    )
    return batch.rejected(items.place, reason, RejectKind.SHOWN_LATE)
