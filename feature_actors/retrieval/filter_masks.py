"""Which items pass a filter, kept for the next request with the same condition."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence

from freshrank.actors.features.retrieval import Filter
from freshrank.actors.messages import Bools
from freshrank.feature_actors.retrieval.catalogue import ItemCatalogue
from freshrank.feature_actors.retrieval.filters import ALL, Check, checked, passing

MOST_BYTES = 32_000_000
"""Of all masks, each of which has a byte for each slot of the catalogue."""


class FilterMasks:
    """Looks for the items that pass filters, by masks of their comparisons.

    Requests ask for the same few categories and limits of prices again and again. A comparison
    with one number takes 20 µs over 100,000 items, and its mask is kept until the catalogue
    changes; to join two masks takes 5.
    """

    def __init__(self, catalogue: ItemCatalogue) -> None:
        self._catalogue = catalogue
        self._masks = OrderedDict[Check, Bools]()
        """By comparison, the one that was asked for last at the end."""
        self._version = catalogue.version

    def __len__(self) -> int:
        return len(self._masks)

    def passing(self, filters: Sequence[Filter]) -> Bools:
        """bool[s]: the slots whose item passes every filter; raises as `filters.passing` does."""
        if self._version != self._catalogue.version:
            self._masks.clear()
            self._version = self._catalogue.version
        return passing(self._catalogue, filters, ALL, self._mask)

    def _mask(self, check: Check) -> Bools:
        found = self._masks.get(check)
        if found is not None:
            self._masks.move_to_end(check)
            return found
        self._masks[check] = found = checked(self._catalogue, ALL, check)
        if len(self._masks) * self._catalogue.capacity > MOST_BYTES:
            self._masks.popitem(last=False)
        return found
