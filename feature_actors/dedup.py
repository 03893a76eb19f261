"""Events that were seen already: ids remembered for a stretch of event time."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from freshrank.actors.messages import Bools, Ints
from freshrank.actors.snapshots import Array
from freshrank.feature_actors import hash_table
from freshrank.feature_actors.frozen import Frozen


class Deduplicator:
    """Tells fresh events from those seen within `horizon_ms` of event time.

    An id is remembered while its event time is at least the newest event time seen, less the
    horizon: an event sent twice is found out until the stream has moved on by that much. The
    first event of an id stands; a duplicate changes nothing. Memory: 16 bytes a place of the
    table, of which there are 1.6 to 6.4 for each id remembered, and 10 for its place in the log.
    """

    def __init__(self, horizon_ms: int) -> None:
        self._horizon_newest = np.array([horizon_ms, 0])
        # The table finds an id. The log is all that was put into it, in order: what was once
        # written there stays, so a snapshot needs no copy of it.
        self._used = 0
        self._table = hash_table.blank(0)
        self._ids, self._times = _blank_log(self._table)

    def __len__(self) -> int:
        """How many ids the log holds; forgotten ones are among them until it is rebuilt."""
        return self._used

    def fresh(self, ids: Ints, event_times_ms: Ints) -> Bools:
        """bool[n]: False for each event whose id came before, in this batch or an earlier one.

        Both arguments are int64[n], in log order; an id is never 0.
        """
        if self._used + len(ids) > len(self._ids):
            live = self.freeze()()
            self._rebuild(live["ids"], live["times"], len(ids))
        out = np.empty(len(ids), dtype=np.bool_)
        hash_table.mark(self._table, ids, event_times_ms, self._horizon_newest, out)
        begin, self._used = self._used, self._used + int(np.count_nonzero(out))
        self._ids[begin : self._used] = ids[out]
        self._times[begin : self._used] = event_times_ms[out]
        return out

    def freeze(self) -> Frozen:
        """What is remembered: ids and times int64[m], the newest time int64[1]."""
        ids, times = self._ids[: self._used], self._times[: self._used]
        horizon, newest = self._horizon_newest.tolist()

        def arrays() -> dict[str, Array]:
            live = times >= newest - horizon
            return {"ids": ids[live], "times": times[live], "newest": np.array([newest])}

        return arrays

    @classmethod
    def restore(cls, horizon_ms: int, arrays: Mapping[str, Array]) -> Deduplicator:
        """The deduplicator whose frozen `arrays` these are."""
        restored = cls(horizon_ms)
        restored._horizon_newest[1:] = arrays["newest"]
        restored._rebuild(arrays["ids"], arrays["times"], 0)
        return restored

    def _rebuild(self, ids: Ints, times: Ints, coming: int) -> None:
        """Hold these, which differ, and have room for twice as many and those that come."""
        self._used = len(ids)
        self._table = hash_table.blank(len(ids) + coming)
        hash_table.insert(self._table, np.stack([ids, times], axis=1))
        self._ids, self._times = _blank_log(self._table)
        self._ids[: len(ids)] = ids
        self._times[: len(ids)] = times


def _blank_log(table: Ints) -> tuple[Ints, Ints]:
    """Ids and times, as many as the table may hold."""
    size = hash_table.room(table)
    return np.zeros(size, dtype=np.int64), np.zeros(size, dtype=np.int64)
