"""The sources of a pipeline, checked, with all that they are made of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np

from freshrank.actors.errors import ConfigError
from freshrank.actors.messages import Ints
from freshrank.feature_actors.encoding.shown_rows import words_of
from freshrank.feature_actors.retrieval.base import CandidateSource, ItemFeatures
from freshrank.feature_actors.retrieval.catalogue import MOST_LISTED, ItemCatalogue
from freshrank.feature_actors.views.plan import FeaturePlan

# Bytes of an item: its row and its key as Python objects, their places in lists and dictionaries,
# and a number for each field and source (measured: 840 with four fields and five sources).
_ITEM_BYTES = 900
# Bytes of an entry of a feature of items: its value, and its two places in an index, of which there
# are two while it is made anew.
_ENTRY_BYTES = 40


class SeenItems(NamedTuple):
    """A feature of the entity that requests name, which lists items."""

    table: int
    """The index of its table in the entity's plan."""
    begin: int
    """Its first column, of `FeatureBlock.ids`."""
    width: int


@dataclass(frozen=True)
class RetrievalPlan:
    """What a replica retrieves candidates by.

    Parameters
    ----------
    items
        The catalogue, and the features of items.
    entity
        The features of the entity that requests name.
    context
        The fields that candidates carry: those of the catalogue, and those of a request.
    sources
        In the order of the pipeline.

    Raises ConfigError, which names the place and the fix.
    """

    place: str
    """Of the pipeline, for errors: ``Pipeline('shop')``."""
    items: ItemFeatures
    entity: FeaturePlan
    context: Sequence[str]
    sources: Sequence[CandidateSource]

    def __post_init__(self) -> None:
        names = list[str]()
        for number, source in enumerate(self.sources):
            here = f"{self.place}.candidates[{number}]"
            if not isinstance(source, CandidateSource):
                raise ConfigError(
                    here, f"{source!r} is no source of candidates", 'Write Popular("clicks_1h").'
                )
            source.check(self.items, here)
            if source.name in names:
                raise ConfigError(here, f"{source.name} is there already", "Leave it out.")
            names.append(source.name)
        self._check_context()

    @cached_property
    def item_context(self) -> Sequence[str]:
        """The fields of the context that an item has in the catalogue."""
        return [name for name in self.context if name in self.items.fields]

    @cached_property
    def request_context(self) -> Sequence[str]:
        """The others: a request gives them, the same for all items."""
        return [name for name in self.context if name not in self.items.fields]

    def _check_context(self) -> None:
        for name in self.item_context:
            wanted, found = self.items.stream.fields[name], self.items.fields[name]
            if found.kind is not wanted.kind or (found.optional and not wanted.optional):
                raise ConfigError(
                    f"{self.place}.candidates",
                    f"{name!r} has another type in {self.items.table.topic!r} than in "
                    f"{self.items.stream.topic!r}",
                    "Give both the same type.",
                )

    @cached_property
    def bytes_per_item(self) -> int:
        """About how much memory an item takes in a replica, with its places in the indexes."""
        empty = ItemCatalogue(self.items.table, 0)
        indexes = [one.index(self.items, empty) for one in self.sources]
        entries = sum(place.width for one in indexes for place in one.features)
        own = sum(one.bytes_per_item for one in indexes)
        lists = 8 * MOST_LISTED * len(empty.lists)
        return _ITEM_BYTES + _ENTRY_BYTES * entries + lists + own

    @cached_property
    def seen(self) -> Mapping[str, SeenItems]:
        """By name, the features of the entity that list items."""
        found: dict[str, SeenItems] = {}
        for number, table in enumerate(self.entity.tables):
            begin = 0
            for bag in table.layout.bags:
                if bag.source == self.items.table.key.key:
                    found[bag.field.name] = SeenItems(number, begin, bag.field.width)
                begin += bag.field.width
        return found

    def seen_ids(
        self, names: Sequence[str], rows: Sequence[bytes | None], at_ms: int
    ) -> Mapping[str, Ints]:
        """By name, int64[.]: the ids of items in features of the entity's `rows`, in their order.

        Raises Unavailable when a row has another size than its table's.
        """
        found: dict[str, Ints] = {}
        for number, (table, row) in enumerate(zip(self.entity.tables, rows, strict=False)):
            wanted = {name: self.seen[name] for name in names if self.seen[name].table == number}
            if row is None or not wanted:
                continue
            block = table.read(words_of(table, [row]), np.array([at_ms], dtype=np.int64))
            for name, place in wanted.items():
                part = slice(place.begin, place.begin + place.width)
                ids = block.ids[0, part]
                found[name] = ids[(ids != 0) & (block.id_weights[0, part] > 0)]
        return found
