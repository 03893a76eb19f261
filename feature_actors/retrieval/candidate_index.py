"""The candidates of a replica: the catalogue, and an index for each source over its slots."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from freshrank.actors.features.retrieval import Boost, CandidateOrigin, Query, Retrieved
from freshrank.actors.features.service import Candidates
from freshrank.actors.messages import Bools, Ints
from freshrank.actors.protocols import JsonValue
from freshrank.feature_actors.encoding.shown_rows import words_of
from freshrank.feature_actors.retrieval.base import Ask, Found, SourceIndex
from freshrank.feature_actors.retrieval.catalogue import ItemCatalogue
from freshrank.feature_actors.retrieval.catalogue_texts import CatalogueTexts
from freshrank.feature_actors.retrieval.filter_masks import FilterMasks
from freshrank.feature_actors.retrieval.filters import passing
from freshrank.feature_actors.retrieval.lazy_sequence import Lazily
from freshrank.feature_actors.retrieval.merging import SourceHits, merged
from freshrank.feature_actors.retrieval.plan import RetrievalPlan
from freshrank.feature_actors.streams.lines.field_columns import reader
from freshrank.feature_actors.streams.table_codec import TableRecords
from freshrank.feature_actors.views.table_plan import TablePlan


class CandidateIndex:
    """Answers queries from what it was given last.

    `take_records` and `take_rows` give it the catalogue's records and the rows of items; `rebuild`
    makes the indexes of the sources anew.

    Parameters
    ----------
    plan
        The sources, and what they are made of.
    most
        Items that are kept.
    """

    def __init__(self, plan: RetrievalPlan, most: int) -> None:
        self.plan = plan
        self.catalogue = ItemCatalogue(plan.items.table, most)
        self._masks = FilterMasks(self.catalogue)
        self._texts = CatalogueTexts(self.catalogue)
        self._key = plan.items.key
        shown = {**plan.items.fields, **self.catalogue.lists}
        self._readers = {name: reader(name, optional=one.optional) for name, one in shown.items()}
        self._indexes: dict[str, SourceIndex] = {
            source.name: source.index(plan.items, self.catalogue) for source in plan.sources
        }
        wanted = {place.table for one in self._indexes.values() for place in one.features}
        self.tables: Sequence[TablePlan] = [
            table for table in plan.items.plan.tables if table in wanted
        ]
        """Those whose rows the sources need."""
        self.hits = SourceHits()
        """How often candidates of each source were touched next."""
        self.stale: set[str] = set(self._indexes)
        """The sources whose indexes are not made yet, or of something else than they have now."""

    @property
    def entity(self) -> str:
        """The name of the entity that items are."""
        return self.plan.items.table.key.name

    @property
    def key_type(self) -> Any:
        """The type of an item's key in the JSON of a request."""
        return self._key.in_json

    @property
    def integer_keys(self) -> bool:
        """Whether the keys of items are integers."""
        return self._key.integer

    @property
    def size(self) -> int:
        """How many items the catalogue has."""
        return len(self.catalogue)

    @property
    def fields(self) -> Mapping[str, type]:
        """The fields of the catalogue, with their types (str, int, float, bool), for filters."""
        return {name: field.type for name, field in self.plan.items.fields.items()}

    @property
    def lists(self) -> Mapping[str, type]:
        """Fields that are lists of texts, integers or bools, with these types, for filters."""
        return self.catalogue.listed_types

    @property
    def choices(self) -> Mapping[str, Sequence[str | int]]:
        """The possible values of those of `fields` and `lists` whose types list them."""
        return self.catalogue.choices

    @property
    def seen(self) -> Sequence[str]:
        """Names of the features that list items which the request's entity touched."""
        return list(self.plan.seen)

    @property
    def sources(self) -> Sequence[str]:
        """The names of the pipeline's sources, in its order."""
        return list(self._indexes)

    @property
    def request_context(self) -> Sequence[str]:
        """The fields of a candidate that the catalogue lacks."""
        return self.plan.request_context

    @property
    def similar(self) -> Sequence[str]:
        """The names of those sources that find items for others."""
        return [source.name for source in self.plan.sources if source.similar]

    def knows(self, item: str) -> bool:
        """Whether the catalogue has the item of this key."""
        return self.catalogue.slot(item) is not None

    def take_records(self, records: TableRecords) -> None:
        """Take records of the catalogue, in the order of the log."""
        if not len(records):
            return
        fresh = self.catalogue.take(records)
        self.stale.update(name for name, index in self._indexes.items() if index.forget(fresh))

    def take_rows(
        self, slots: Ints, rows: Mapping[str, Sequence[bytes | None]], at_ms: int
    ) -> None:
        """Take the rows of the items in `slots`, by the names of the tables, as of `at_ms`.

        Raises Unavailable when a row has another size than its table's.
        """
        words = {table.name: words_of(table, rows[table.name]) for table in self.tables}
        times = np.full(len(slots), at_ms, dtype=np.int64)
        blocks = {table.name: table.read(words[table.name], times) for table in self.tables}
        for name, index in self._indexes.items():
            if index.features:
                changed = [index.take(slots, blocks), index.take_words(slots, words)]
                if any(changed):
                    self.stale.add(name)

    def rebuild(self, sources: Sequence[str] = ()) -> None:
        """Make the indexes of `sources` anew, of all by default.

        May run beside requests, in a thread.
        """
        for name in sources or self.sources:
            self.stale.discard(name)
            self._indexes[name].rebuild()

    def retrieve(self, query: Query) -> Retrieved:
        """The candidates for a query.

        Raises RequestError for a filter that the catalogue does not allow, and Unavailable when a
        row has another size than its table's.
        """
        seen = self.plan.seen_ids(self.seen, query.rows, query.at_ms)
        recent = self._recent(query, seen)
        asked = list(query.sources or self._indexes)
        learned = [] if query.items else self._learned
        totals = self._totals({*asked, *learned}, recent)
        ask = Ask(query.most, self._allowed(query, seen), recent)
        found = {
            name: self._indexes[name].find(ask._replace(totals=totals[name])) for name in asked
        }
        if query.entity:
            self.hits.take(query.entity, query.at_ms, recent, found)
        slots, weights = merged(found, query.most, self.hits)
        return replace(
            self._described(slots),
            weights=weights,
            origins=Lazily(len(slots), self._origins(slots, found, recent)),
            allowed=int(np.count_nonzero(ask.allowed)),
            found={name: len(one.slots) for name, one in found.items()},
            factors=self._factors(slots, query.boosts),
            learned=self._weights(learned, slots, recent, totals),
        )

    def look_up(self, items: Sequence[str]) -> Retrieved:
        """Those of `items`, by their keys, that the catalogue has, in their order."""
        return self._described(self.catalogue.slots_of(items))

    def texts_of(self, ids: Collection[int]) -> Mapping[int, str]:
        """Those of `ids` that are hashes of texts in the catalogue, with the texts."""
        return self._texts.of(ids)

    def _described(self, slots: Ints) -> Retrieved:
        """What the catalogue says of the items in `slots`."""
        columns = self.catalogue.columns(slots)
        return Retrieved(
            items=[self.catalogue.names[slot] for slot in slots.tolist()],
            columns={name: columns.values(name) for name in self.plan.item_context},
            rows=Lazily(len(slots), self._row_at(slots)),
            weights=[0.0] * len(slots),
            origins=[()] * len(slots),
        )

    def _row_at(self, slots: Ints) -> Callable[[int], Mapping[str, JsonValue]]:
        """Gives, by its place in `slots`, the fields of an item's present row."""
        rows, readers = self.catalogue.rows(slots), self._readers
        return lambda place: {name: read(rows[place]) for name, read in readers.items()}

    def _factors(self, slots: Ints, boosts: Sequence[Boost]) -> list[float]:
        if not boosts:
            return []
        factors = np.ones(len(slots))
        for one in boosts:
            factors[passing(self.catalogue, one.filters, slots)] *= one.factor
        return factors.tolist()

    def weigh(
        self, rows: Sequence[bytes | None], candidates: Candidates, at_ms: int
    ) -> Mapping[str, Sequence[float]]:
        """By source whose weights are inputs of the model, the weight of each of ``n`` candidates.

        Raises Unavailable when a row has another size than its table's.
        """
        if not self._learned:
            return {}
        names = [str(name) for name in candidates[self.plan.items.table.key.key]]
        slots = np.array([self.catalogue.slot(name) or 0 for name in names], dtype=np.int64)
        known = np.array([self.knows(name) for name in names], dtype=np.bool_)
        query = Query(len(names), at_ms, rows)
        recent = self._recent(query, self.plan.seen_ids(self.seen, rows, at_ms))
        totals = self._totals(self._learned, recent)
        found = self._weights(self._learned, slots[known], recent, totals)
        weights = {name: np.zeros(len(names)) for name in found}
        for name, values in found.items():
            weights[name][known] = values
        return {name: values.tolist() for name, values in weights.items()}

    @property
    def _learned(self) -> list[str]:
        """The sources whose weights are inputs of the model."""
        return [source.name for source in self.plan.sources if source.learned]

    def _totals(self, sources: Iterable[str], recent: Ints) -> Mapping[str, Found]:
        """What these sources find and weigh by."""
        return {name: self._indexes[name].totals(recent) for name in sources}

    def _weights(
        self, sources: Iterable[str], slots: Ints, recent: Ints, totals: Mapping[str, Found]
    ) -> Mapping[str, Sequence[float]]:
        """By source, the weights of the items in `slots`."""
        return {
            name: self._indexes[name].weigh(slots, recent, totals[name]).tolist()
            for name in sources
        }

    def _recent(self, query: Query, seen: Mapping[str, Ints]) -> Ints:
        """int64[r]: slots of the items that neighbours are wanted of, the most important first."""
        if query.items:
            return self.catalogue.slots_of(query.items)
        # The first feature that lists items is the entity's recent ones; others fill up.
        ids = np.concatenate([np.zeros(0, dtype=np.int64), *seen.values()])
        return self.catalogue.slots_of_ids(np.array(list(dict.fromkeys(ids.tolist())), np.int64))

    def _allowed(self, query: Query, seen: Mapping[str, Ints]) -> Bools:
        allowed = self._masks.passing(query.filters)
        allowed[self.catalogue.slots_of([*query.exclude, *query.items])] = False
        for name in query.exclude_seen:
            if name in seen:
                allowed[self.catalogue.slots_of_ids(seen[name])] = False
        return allowed

    def _origins(
        self, slots: Ints, found: Mapping[str, Found], recent: Ints
    ) -> Callable[[int], Sequence[CandidateOrigin]]:
        # An answer is put together later, when a slot may have another item.
        names = {slot: self.catalogue.names[slot] for slot in recent.tolist()}
        of_source = {name: set(one.slots.tolist()) for name, one in found.items()}

        def origins(place: int) -> Sequence[CandidateOrigin]:
            slot = int(slots[place])
            return [
                CandidateOrigin(
                    name,
                    [names[one] for one in self._indexes[name].because(slot, recent).tolist()],
                )
                for name, own in of_source.items()
                if slot in own
            ]

        return origins
