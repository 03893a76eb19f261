"""Listed: items that people have chosen."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from freshrank.actors.errors import BadRecord, ConfigError
from freshrank.feature_actors.retrieval.base import (
    Ask,
    CandidateSource,
    Found,
    ItemFeatures,
    SourceIndex,
)
from freshrank.feature_actors.retrieval.catalogue import ItemCatalogue


@dataclass(frozen=True)
class Listed(CandidateSource):
    """Items that people have chosen, such as those of a front page, in their order.

    Parameters
    ----------
    title
        The name of the list.
    items
        Keys of items. Those that the catalogue does not have at present are passed over.
    """

    title: str
    items: Sequence[str | int]

    @property
    def name(self) -> str:
        """``listed:front page``."""
        return f"listed:{self.title}"

    def check(self, items: ItemFeatures, place: str) -> None:
        """Raise ConfigError where the list is empty, or holds what can be no key."""
        if isinstance(self.items, str) or not self.items:
            raise ConfigError(f"{place}.items", "no list of keys", 'Write ["a", "b"].')
        key = items.key
        for number, item in enumerate(self.items):
            try:
                key.canonical(item)
            except BadRecord as error:
                here = f"{place}.items[{number}]"
                raise ConfigError(here, error.reason, "Write the key of an item.") from error

    def index(self, items: ItemFeatures, catalogue: ItemCatalogue) -> SourceIndex:
        """A new index."""
        key = items.key
        return _ListedIndex([key.canonical(item) for item in self.items], catalogue)


class _ListedIndex(SourceIndex):
    def __init__(self, names: Sequence[str], catalogue: ItemCatalogue) -> None:
        self._names = names
        self._catalogue = catalogue

    def rebuild(self) -> None:
        """There is none: the list is as it was declared."""

    def find(self, ask: Ask) -> Found:
        """Those that are allowed."""
        slots = self._catalogue.slots_of(self._names)
        slots = slots[ask.allowed[slots]][: ask.most]
        return Found(slots, 1.0 / np.arange(1.0, len(slots) + 1.0, dtype=np.float64))
