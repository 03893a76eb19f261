"""Examples of events whose label is known some time after the event only."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

import numpy as np

from freshrank.actors.messages import Floats, Inputs, Ints
from freshrank.actors.snapshots.file_format import Array
from freshrank.actors.snapshots.frozen import StateView
from freshrank.feature_actors.labels.examples import LabelledRows
from freshrank.feature_actors.labels.pair_pool import PairPool


class WaitingExamples:
    """Keeps each example until its label is known, in the order of the log.

    That is when the clock of the events' topic is `after_ms` later than the event. So which
    examples are given between two offsets follows from the log alone, and an event that came so
    late gives its example at once.

    Parameters
    ----------
    after_ms
        `Labelled.known_after_ms`.
    dense_width, id_width
        ``d`` and ``f`` of the input layout.
    """

    PART = "waiting"
    """Its name in snapshots."""

    def __init__(self, after_ms: int, dense_width: int, id_width: int) -> None:
        self._after_ms = after_ms
        self._pool = PairPool(
            order=np.zeros(0, dtype=np.int64),
            entity=np.zeros(0, dtype=np.int64),
            dense=np.zeros((0, dense_width), dtype=np.float32),
            ids=np.zeros((0, id_width), dtype=np.int64),
            labels=np.zeros(0, dtype=np.float32),
            served=np.zeros(0, dtype=np.float32),
            weights=np.zeros(0, dtype=np.float32),
        )
        self.predict: Callable[[Inputs], Floats] | None = None
        """Scores examples when their events come: the quality is that of these predictions, for
        the weights that learn them have learned what was not known then. None: they have none."""

    @property
    def pending(self) -> int:
        """Examples that wait."""
        return self._pool.live

    @property
    def nbytes(self) -> int:
        """Memory held."""
        return self._pool.nbytes

    def take(self, rows: LabelledRows, entities: Ints, clock_ms: int) -> LabelledRows:
        """Keep the examples of new events; gives those whose label is known by now.

        Parameters
        ----------
        rows
            ``n`` of them, in the order of the log.
        entities
            int64[n]: the hash of each one's entity.
        clock_ms
            The log's clock after these events.
        """
        served = rows.served if self.predict is None else self._scores(rows)
        kept = {name: column for name, column in rows.arrays().items() if name in _KEPT}
        kept |= {"entity": entities, "served": served}
        self._pool.append(rows.order, rows.event_times_ms, **kept)
        return self._known(clock_ms)

    def forget(self, entity: int, clock_ms: int) -> LabelledRows:
        """Take the tombstone of an entity (its hash), just after which the clock is `clock_ms`.

        Gives what is known by now; what else waits of the entity is never learned.
        """
        known = self._known(clock_ms)
        self._pool.take_with("entity", entity, _ANY_MS)
        return known

    def freeze(self) -> StateView:
        """The state of now, for a snapshot."""
        return self._pool.freeze()

    def load(self, arrays: Mapping[str, Array]) -> None:
        """Become the state whose frozen `arrays` these are."""
        self._pool.load(arrays)

    def _scores(self, rows: LabelledRows) -> Floats:
        assert self.predict is not None
        return self.predict(Inputs(rows.dense, rows.ids)) if len(rows) else rows.served

    def _known(self, clock_ms: int) -> LabelledRows:
        places, times_ms = self._pool.older_than(clock_ms - self._after_ms + 1)
        columns = self._pool.columns(places)
        inputs = Inputs(columns["dense"], columns["ids"])
        rows = LabelledRows.not_served(
            columns["order"], inputs, columns["labels"], times_ms + self._after_ms
        )
        return replace(rows, served=columns["served"], weights=columns["weights"])


_KEPT = ("order", "dense", "ids", "labels", "weights")
_ANY_MS = 2**62
"""Later than every time."""
