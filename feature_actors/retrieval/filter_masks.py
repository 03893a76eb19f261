"""Which items pass a filter, kept for the next request with the same condition."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from functools import reduce

import numpy as np

from freshrank.actors.features.retrieval import Filter
from freshrank.actors.messages import Bools
from freshrank.feature_actors.retrieval.catalogue import ItemCatalogue
from freshrank.feature_actors.retrieval.filters import ALL, Bits, Check, checked, holds

MOST_BYTES = 8_000_000
"""Of all masks, each of which has a bit for each slot of the catalogue."""


class FilterMasks:
    """Looks for the items that pass filters, by masks of their comparisons.

    Requests ask for the same few categories and limits of prices again and again. A comparison
    with one number takes 20 µs over 100,000 items, and its mask is kept until the catalogue
    changes; to join two masks takes less than one.
    """

    def __init__(self, catalogue: ItemCatalogue) -> None:
        self._catalogue = catalogue
        self._masks = OrderedDict[Check, Bits]()
        """By comparison, the one that was asked for last at the end."""
        self._version = catalogue.version

    def __len__(self) -> int:
        return len(self._masks)

    def passing(self, filters: Sequence[Filter]) -> Bools:
        """bool[s]: the slots whose item passes every filter; raises as `filters.passing` does."""
        catalogue = self._catalogue
        if self._version != catalogue.version:
            self._masks.clear()
            self._version = catalogue.version
        if not filters:
            return catalogue.alive.copy()
        found = reduce(np.bitwise_and, [holds(catalogue, one, self._mask) for one in filters])
        passed: Bools = np.unpackbits(found, count=catalogue.capacity).view(np.bool_)
        passed &= catalogue.alive
        return passed

    def _mask(self, check: Check) -> Bits:
        found = self._masks.get(check)
        if found is not None:
            self._masks.move_to_end(check)
            return found
        self._masks[check] = found = np.packbits(checked(self._catalogue, ALL, check))
        if len(self._masks) * len(found) > MOST_BYTES:
            self._masks.popitem(last=False)
        return found
