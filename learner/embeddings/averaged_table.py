"""The table of a learner whose rows have averages, which others serve."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from freshrank.actors.messages import Floats, Ints
from freshrank.learner.embeddings.checksum import sum_at
from freshrank.learner.embeddings.row_init import RowInit
from freshrank.learner.embeddings.table import KeyedTable


class AveragedTable(KeyedTable):
    """A keyed table that knows the checksum of the averages of its rows, too.

    Not for copies that follow: `exchange` does not update it.

    Parameters
    ----------
    init, state_width
        See `KeyedTable`.
    averages
        From whole rows float32[m, width + state_width] to their averages float32[m, width].
    """

    def __init__(
        self, init: RowInit, state_width: int, averages: Callable[[Floats], Floats]
    ) -> None:
        super().__init__(init, state_width)
        self._averages = averages
        self._expected_averages = 0

    @property
    def expected_averages_checksum(self) -> int:
        """The `expected_checksum` of a table with the averages in place of the rows."""
        return self._expected_averages

    def recount(self) -> bool:
        """See `KeyedTable`: both checksums have to be as expected."""
        expected, self._expected_averages = self._expected_averages, 0
        self._add_averages(np.arange(len(self)), 1)
        return super().recount() and self._expected_averages == expected

    def _update_expected(self, positions: Ints, sign: int) -> None:
        super()._update_expected(positions, sign)
        self._add_averages(positions[positions >= 0], sign)

    def _add_averages(self, positions: Ints, sign: int) -> None:
        rows = self._averages(self.rows[positions])
        found = sum_at(self.keys[positions], rows, self.init.width, np.arange(len(positions)))
        self._expected_averages = (self._expected_averages + sign * found) % 2**64
