"""Popular: the items with the greatest value of a feature."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from freshrank.actors.kernels.hashing import ABSENT
from freshrank.actors.messages import Doubles, Ints
from freshrank.feature_actors.aggregations.kernel_types import FeatureBlock
from freshrank.feature_actors.retrieval.base import (
    NOTHING,
    Ask,
    CandidateSource,
    FeaturePlace,
    Found,
    ItemFeatures,
    SourceIndex,
    first_allowed,
)
from freshrank.feature_actors.retrieval.catalogue import ItemCatalogue
from freshrank.feature_actors.retrieval.slot_arrays import grown, put
from freshrank.feature_actors.streams.fields import Kind


@dataclass(frozen=True)
class Popular(CandidateSource):
    """The items with the greatest value of a numeric feature of theirs: a count, a rate, a trend.

    Parameters
    ----------
    by
        The feature (``clicks_1h``). Items without an event, or whose value is 0 or less, are none.
    per
        A field of the catalogue, of text or integers. With it, only items that share its value
        with one of the items that the entity touched last; those of the newest come first.
    """

    by: str
    per: str | None = None

    @property
    def name(self) -> str:
        """``popular:clicks_1h`` or ``popular:clicks_1h/category``."""
        return f"popular:{self.by}" if self.per is None else f"popular:{self.by}/{self.per}"

    def check(self, items: ItemFeatures, place: str) -> None:
        """Raise ConfigError for a feature or a field that is not there."""
        items.number(self.by, f"{place}.by")
        if self.per is not None:
            items.fields.require(self.per, f"{place}.per", Kind.TEXT, Kind.INTEGER)

    def index(self, items: ItemFeatures, catalogue: ItemCatalogue) -> SourceIndex:
        """A new index."""
        return _PopularIndex(items.number(self.by, "by"), catalogue, self.per)


class _PopularIndex(SourceIndex):
    """The items in the order of the feature's value."""

    def __init__(self, by: FeaturePlace, catalogue: ItemCatalogue, per: str | None) -> None:
        self.features = (by,)
        self._by = by
        self._catalogue = catalogue
        self._per = per
        self._values: Doubles = np.zeros(0)
        self._ranked = _Ranked(NOTHING.slots, NOTHING.slots)

    def take(self, slots: Ints, blocks: Mapping[str, FeatureBlock]) -> bool:
        """Note the values."""
        self._values = grown(self._values, self._catalogue.capacity)
        values = blocks[self._by.table.name].values[:, self._by.begin]
        return put(self._values, slots, np.nan_to_num(values, nan=0.0))

    def forget(self, slots: Ints) -> bool:
        """Nothing is known of new items; of others the field of `per` may have changed."""
        self._values = grown(self._values, self._catalogue.capacity)
        self._values[slots] = 0.0
        return True

    def rebuild(self) -> None:
        """Sort the items: by the field of `per`, then by value."""
        values, alive = self._values, self._catalogue.alive
        slots = np.flatnonzero((values > 0) & alive[: len(values)])
        groups = np.zeros_like(slots)
        if self._per is not None:
            groups = self._catalogue.ids(self._per)[slots]
        order = np.lexsort((-values[slots], groups))
        self._ranked = _Ranked(slots[order], groups[order])

    def find(self, ask: Ask) -> Found:
        """The best that are allowed."""
        ranked = self._ranked
        if self._per is None:
            return self._of(ranked.slots, ask)
        groups = self._catalogue.ids(self._per)[ask.recent]
        found, left = list[Found](), ask.most
        for group in dict.fromkeys(groups[groups != ABSENT].tolist()):
            begin = int(np.searchsorted(ranked.groups, group))
            end = int(np.searchsorted(ranked.groups, group, side="right"))
            some = self._of(ranked.slots[begin:end], ask._replace(most=left))
            found.append(some)
            left -= len(some.slots)
            if left <= 0:
                break
        if not found:
            return NOTHING
        return Found(
            np.concatenate([one.slots for one in found]),
            np.concatenate([one.weights for one in found]),
        )

    def _of(self, order: Ints, ask: Ask) -> Found:
        slots = first_allowed(order, ask.allowed, ask.most)
        return Found(slots, self._values[slots])


@dataclass(frozen=True, slots=True)
class _Ranked:
    slots: Ints
    groups: Ints
    """int64[m]: the id of each item's field `per`, ascending; 0 without one."""
