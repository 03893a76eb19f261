"""Events that were seen already: ids remembered for a stretch of the log's time, up to a bound."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from freshrank.actors.messages import Bools, Ints
from freshrank.actors.snapshots.file_format import Array
from freshrank.actors.snapshots.frozen import StateView
from freshrank.feature_actors.state import hash_table

# Of the table (id, place in the log) and of the log (id, time).
_PLACE_BYTES = 16


class Deduplicator:
    """Tells fresh events from those that arrived within `horizon_ms` of the log's time.

    An id is remembered while its event arrived no longer ago than the horizon, by the log's clock:
    an event sent twice is found out until the log has moved on by that much, whatever time the
    event itself has. The first event of an id stands; a duplicate changes nothing.

    But at most the newest `most` ids are remembered. Beyond it the oldest is forgotten before its
    time, which `forgotten` counts: were that event sent again, it would be taken for a fresh one.
    Which ids are remembered follows from the events alone, wherever batches end.
    """

    def __init__(self, horizon_ms: int, most: int) -> None:
        self._state = np.array([horizon_ms, most, 0, 0, 0])
        # The table finds an id's place in the log, which is all that was put into it, in order:
        # what was once written there stays, so a snapshot needs no copy of it.
        self._table = hash_table.blank(0)
        self._log = _blank_log(self._table)

    def __len__(self) -> int:
        """The number of ids in the log; forgotten ids are among them until it is rebuilt."""
        return int(self._state[3])

    @property
    def nbytes(self) -> int:
        """Memory held."""
        return self._table.nbytes + self._log.nbytes

    @property
    def forgotten(self) -> int:
        """The number of ids that were forgotten before their time."""
        return int(self._state[4])

    def fresh(self, ids: Ints, log_ms: Ints, clock_ms: Ints) -> Bools:
        """bool[n]: False for each event whose id came before, in this batch or an earlier one.

        All arguments are int64[n], in log order: ids, which are never 0, times of arrival, and the
        log's clock, by which they are forgotten.
        """
        if len(self) + len(ids) > len(self._log):
            live = self.freeze()()
            self._rebuild(live["ids"], live["times"], len(ids))
        out = np.empty(len(ids), dtype=np.bool_)
        events = np.array((ids, log_ms, clock_ms))
        hash_table.mark(self._table, self._log, events, self._state, out)
        return out

    def freeze(self) -> StateView:
        """The remembered ids and times int64[m], the newest time int64[1].

        Ids whose time has passed may be among them, so that all keep their distance in the log.
        """
        horizon, most, newest, used, _ = self._state.tolist()
        log = self._log[max(0, used - most) : used]

        def arrays() -> dict[str, Array]:
            live = np.flatnonzero(log[:, 1] >= newest - horizon)
            ids, times = log[live[0] if len(live) else len(log) :].T.copy()
            return {"ids": ids, "times": times, "newest": np.array([newest])}

        return arrays

    @classmethod
    def restore(cls, horizon_ms: int, most: int, arrays: Mapping[str, Array]) -> Deduplicator:
        """The deduplicator whose frozen `arrays` these are."""
        restored = cls(horizon_ms, most)
        restored._state[2:3] = arrays["newest"]
        restored._rebuild(arrays["ids"], arrays["times"], 0)
        return restored

    def _rebuild(self, ids: Ints, times: Ints, coming: int) -> None:
        """Hold these ids, with room for twice as many and for `coming` more."""
        self._state[3] = used = len(ids)
        self._table = hash_table.blank(used + coming)
        hash_table.insert(self._table, np.stack([ids, np.arange(used)], axis=1))
        self._log = _blank_log(self._table)
        self._log[:used] = np.stack([ids, times], axis=1)


def bytes_at_most(most: int, coming: int) -> int:
    """Memory for `most` ids, in batches of `coming`: the places of the table and of the log."""
    places = hash_table.places(most + coming)
    return _PLACE_BYTES * (places + hash_table.room(places))


def _blank_log(table: Ints) -> Ints:
    """Ids and times, as many as the table may hold."""
    return np.zeros((hash_table.room(len(table)), 2), dtype=np.int64)
