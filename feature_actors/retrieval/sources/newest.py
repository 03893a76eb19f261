"""Newest: the items that came last."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from freshrank.actors.messages import Doubles, Ints
from freshrank.feature_actors.retrieval.base import (
    NOTHING,
    Ask,
    CandidateSource,
    Found,
    ItemFeatures,
    SourceIndex,
    first_allowed,
)
from freshrank.feature_actors.retrieval.catalogue import ItemCatalogue
from freshrank.feature_actors.streams.fields import Kind


@dataclass(frozen=True)
class Newest(CandidateSource):
    """The items that came last.

    Parameters
    ----------
    by
        A numeric field of the catalogue that grows with time (``added_at``). Without it, the time
        of the catalogue's record: an item whose row is written again then counts as new.
    """

    by: str | None = None

    @property
    def name(self) -> str:
        """``newest`` or ``newest:added_at``."""
        return "newest" if self.by is None else f"newest:{self.by}"

    def check(self, items: ItemFeatures, place: str) -> None:
        """Raise ConfigError for a field that is not there."""
        if self.by is not None:
            items.fields.require(self.by, f"{place}.by", Kind.INTEGER, Kind.NUMBER)

    def index(self, items: ItemFeatures, catalogue: ItemCatalogue) -> SourceIndex:
        """A new index."""
        return _NewestIndex(catalogue, self.by)


class _NewestIndex(SourceIndex):
    def __init__(self, catalogue: ItemCatalogue, by: str | None) -> None:
        self._catalogue = catalogue
        self._by = by
        self._order = NOTHING.slots

    def rebuild(self) -> None:
        """Sort the items that have a time."""
        slots = np.flatnonzero(self._catalogue.alive)
        times = self._times(slots)
        known = ~np.isnan(times)
        self._order = slots[known][np.argsort(-times[known], kind="stable")]

    def find(self, ask: Ask) -> Found:
        """The newest that are allowed."""
        slots = first_allowed(self._order, ask.allowed, ask.most)
        return Found(slots, self._times(slots))

    def _times(self, slots: Ints) -> Doubles:
        """float64[m]: when the items in `slots` int64[m] came; NaN where it is not known."""
        if self._by is None:
            return self._catalogue.stamps_ms[slots].astype(np.float64)
        return self._catalogue.numbers(self._by)[slots]
