"""Features of stored rows, read as of now and encoded with candidates, for replicas."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache

import numpy as np

from freshrank.actors.features.service import Candidates, RequestTypes, RowLookup
from freshrank.actors.messages import Doubles, Inputs, Ints
from freshrank.actors.protocols import JsonValue
from freshrank.feature_actors.encoding.candidate_columns import (
    candidate_type,
    column_of,
    count_of,
    each_once,
    names_of,
)
from freshrank.feature_actors.encoding.compound_rows import CompoundRows
from freshrank.feature_actors.encoding.input_encoder import InputEncoder
from freshrank.feature_actors.encoding.shown_rows import (
    combined_values,
    freshness_of,
    shown_fields,
    shown_row,
    words_of,
)
from freshrank.feature_actors.streams.columns import entity_ids
from freshrank.feature_actors.streams.entity_key import CompoundKey, EntityKey, path_type
from freshrank.feature_actors.streams.fields import Kind
from freshrank.feature_actors.streams.stream import Stream
from freshrank.feature_actors.views.latest_row_plan import LatestRowPlan
from freshrank.feature_actors.views.plan import FeaturePlan
from freshrank.feature_actors.views.row_plan import RowPlan
from freshrank.feature_actors.views.table_plan import TablePlan


class OnlineFeatures:
    """The features of a pipeline, read from stored rows (a `FeatureService`).

    Parameters
    ----------
    plans
        Those of `encoder`: of the entity that a request names, then of entities that each
        candidate names by the field that is their key, then of compound ones.
    stream
        Whose fields the candidates carry.
    join_on
        The context field by which the joiner recognises a candidate. Without a joiner there is
        none, and the join keys are 0.
    """

    def __init__(
        self,
        plans: Sequence[FeaturePlan],
        encoder: InputEncoder,
        stream: Stream,
        join_on: str | None = None,
    ) -> None:
        self._tables = {plan.entity.name: plan.row_plans for plan in plans}
        self._all_tables = [table for plan in plans for table in plan.row_plans]
        self._encoder = encoder
        self._join_on = join_on
        self._entity = plans[0].entity
        single = [plan for plan in plans if not plan.entity.compound]
        self._compound = CompoundRows(plans, stream, encoder.table_fields)
        self._key_fields = {plan.entity.name: stream.fields[plan.entity.key] for plan in single}
        self._keys: dict[str, EntityKey | CompoundKey] = {}
        for plan in plans:
            made = CompoundKey if plan.entity.compound else EntityKey
            self._keys[plan.entity.name] = made(stream.event_type, stream.fields, plan.entity.key)
        self._candidate_entities = [plan.entity.name for plan in single[1:]]
        elsewhere = (self._entity.key, *encoder.table_fields, *encoder.made.names)
        self._kinds = {
            name: encoder.kinds[name]
            for name in encoder.context_names
            if name in stream.fields and name not in elsewhere
        }
        for name in sorted(encoder.made.carried - {*self._kinds}):
            self._kinds[name] = stream.fields[name].kind
        known = (*self._kinds, *elsewhere)
        self._weights = [name for name in encoder.context_names if name not in known]
        key = EntityKey(stream.event_type, stream.fields, self._entity.key)
        self._request_types = RequestTypes(
            key.in_json,
            key.in_path,
            path_type(self._keys.values()),
            candidate_type(stream, list(self._kinds), join_on),
        )

    @property
    def context(self) -> Mapping[str, type]:
        """The fields that a candidate carries, with their types (str, int or float)."""
        return {name: kind.value for name, kind in self._kinds.items()}

    @property
    def request_types(self) -> RequestTypes:
        """The types of the entity's key and of a candidate, with the rules that events have."""
        return self._request_types

    def canonical_key(self, entity: str, key: str | int) -> str:
        """The one text of a key of an entity. Raises BadRecord."""
        return self._keys[entity].canonical(key)

    @property
    def entities(self) -> Sequence[str]:
        """The kinds of entity that have rows, the one that a request names first."""
        return list(self._tables)

    def keys(self, entity: str, key: str) -> Sequence[bytes]:
        """The online store's keys of an entity's row in each of its tables."""
        return [table.row_key(key) for table in self._tables[entity]]

    def lookups(self, key: str, candidates: Candidates) -> Sequence[RowLookup]:
        """The rows from which the inputs of a request are made: those of the entity `key` first.

        Raises RequestError when a candidate lacks the key of an entity, or has one of a wrong
        type.
        """
        own = self._entity.name
        first_row = np.zeros(count_of(candidates), dtype=np.int64)
        found = [
            RowLookup(own, table.source.log_topic, [table.row_key(key)], first_row)
            for table in self._tables[own]
        ]
        for entity in self._candidate_entities:
            names = names_of(self._key_fields[entity], candidates)
            lines, which = each_once(names)
            unkeyed = [place for place, name in enumerate(names) if not name] if "" in lines else []
            for table in self._tables[entity]:
                keys, topic = table.row_keys(lines), table.source.log_topic
                leads = self._compound.needs(table)
                found.append(RowLookup(entity, topic, keys, which, leads=leads, unkeyed=unkeyed))
        if not self._compound.follows:
            found += self._compound.lookups(self._entity_id(key), candidates, [], [])
        return found

    def following(
        self,
        leading: Sequence[RowLookup],
        rows: Sequence[bytes | None],
        key: str,
        candidates: Candidates,
    ) -> Sequence[RowLookup]:
        """The rows whose keys `rows`, of the lookups that lead, are a part of."""
        return self._compound.lookups(self._entity_id(key), candidates, leading, rows)

    def owned(self, key: str) -> Callable[[bytes], bool]:
        """Tell whether a key of the online store is of a compound entity of the entity `key`."""
        return self._compound.owned(int(self._entity_id(key)[0]))

    def freshness(self, entity: str, rows: Sequence[bytes | None]) -> tuple[int, Mapping[str, int]]:
        """The newest event time, in ms, in rows, and by topic the last offset; else 0 and -1."""
        return freshness_of(self._tables[entity], rows)

    def describe(
        self, entity: str, rows: Sequence[bytes | None], at_ms: int
    ) -> Mapping[str, JsonValue]:
        """The named features as of `at_ms`; a bag is a list of values and weights (`BagValues`).

        None stands for a number that has no value.
        """
        found: dict[str, JsonValue] = {}
        for table, row in zip(self._tables[entity], rows, strict=True):
            found |= shown_row(table, row, at_ms)
        return found

    def inputs(
        self,
        lookups: Sequence[RowLookup],
        rows: Sequence[bytes | None],
        key: str,
        candidates: Candidates,
        at_ms: int,
    ) -> Inputs:
        """One input row a candidate.

        Raises RequestError when a context field is missing or has values of another type, and
        Unavailable when a row has another size than its table's.
        """
        context: dict[str, Ints | Doubles] = {
            name: column_of(name, kind, candidates) for name, kind in self._kinds.items()
        }
        context |= {name: np.array(candidates.get(name, [np.nan])) for name in self._weights}
        context[self._entity.key] = self._entity_id(key)
        context |= self._encoder.made.of_candidates(candidates, at_ms)
        blocks, which = [], []
        for table, lookup, words in self._read(lookups, rows):
            if isinstance(table, TablePlan):
                blocks.append(table.read(words, np.full(len(words), at_ms, dtype=np.int64)))
                which.append(lookup.which)
            elif isinstance(table, LatestRowPlan):
                for name, column in self._taken(table, words, at_ms):
                    context[name] = column[lookup.which]
        return self._encoder.encode(blocks, which, context)

    def _read(
        self, lookups: Sequence[RowLookup], rows: Sequence[bytes | None]
    ) -> Iterator[tuple[RowPlan, RowLookup, Doubles]]:
        """Each table with its lookup and the words of its rows."""
        begin = 0
        for table, lookup in zip(self._all_tables, lookups, strict=True):
            end = begin + len(lookup.keys)
            yield table, lookup, words_of(table, rows[begin:end])
            begin = end

    def _taken(
        self, table: LatestRowPlan, words: Doubles, at_ms: int
    ) -> Iterator[tuple[str, Ints | Doubles]]:
        """By name, what the context takes from rows of a table, as ids [m] or numbers [m]."""
        yield from self._encoder.made.of_rows(table, words, at_ms).items()
        for name, field in self._encoder.table_fields.items():
            if field.table is table.source:
                number = self._encoder.kinds[name] is Kind.NUMBER
                yield name, (table.number if number else table.column)(name, words)

    def input_values(
        self,
        lookups: Sequence[RowLookup],
        rows: Sequence[bytes | None],
        key: str,
        candidates: Candidates,
        at_ms: int,
    ) -> Iterator[Mapping[str, JsonValue]]:
        """For each candidate in turn, by name, the value of each of its inputs, for people.

        As `describe` gives it, and as the candidate has it (see `combined_values` for the rest).
        Takes the arguments of `inputs`, and raises as it does.
        """
        begins = np.cumsum([0, *(len(lookup.keys) for lookup in lookups)]).tolist()
        made_columns = self._made(lookups, rows, candidates, at_ms)

        @cache
        def shown(place: int, line: int) -> dict[str, JsonValue]:
            table = self._all_tables[place]
            found = shown_row(table, rows[begins[place] + line], at_ms)
            if isinstance(table, LatestRowPlan):
                return shown_fields(self._encoder, found)
            return found

        def own_values(number: int) -> dict[str, JsonValue]:
            one: dict[str, JsonValue] = {}
            for place, lookup in enumerate(lookups):
                one |= shown(place, int(lookup.which[number]))
            columns = (*candidates.items(), *made_columns.items())
            return one | {name: column[number] for name, column in columns}

        count = count_of(candidates)
        ids = {self._entity.key: np.repeat(self._entity_id(key), count)}
        for name, kind in self._kinds.items():
            if kind is not Kind.NUMBER:
                ids[name] = column_of(name, kind, candidates).astype(np.int64)
        own = [own_values(number) for number in range(count)]
        derived = self._encoder.derived.values(own)
        for number in range(count):
            one = {**own[number], self._entity.key: key}
            own_ids = {name: int(column[number]) for name, column in ids.items()}
            made = {name: column[number] for name, column in derived.items()}
            known = one | made
            yield known | combined_values(self._encoder, known, own_ids)

    def _made(
        self,
        lookups: Sequence[RowLookup],
        rows: Sequence[bytes | None],
        candidates: Candidates,
        at_ms: int,
    ) -> Mapping[str, Sequence[float | str | None]]:
        """By name, for each candidate, what of the context is made; None where there is none."""
        made, found = self._encoder.made, dict(self._encoder.made.numbers_of(candidates, at_ms))
        for table, lookup, words in self._read(lookups, rows) if made.names else ():
            if isinstance(table, LatestRowPlan):
                for name, column in made.of_rows(table, words, at_ms).items():
                    found[name] = column[lookup.which]
        count = count_of(candidates)
        numbers = {
            name: [None if np.isnan(one) else one for one in np.broadcast_to(of, count).tolist()]
            for name, of in found.items()
        }
        return {**numbers, **made.texts_of(candidates)}

    def shown(self, inputs: Inputs, which: Ints, before: int = 0) -> Inputs:
        """See `FeatureService`."""
        dense = inputs.dense[which]
        if self._encoder.position_column is not None:
            dense[:, self._encoder.position_column] = np.log1p(before + np.arange(len(which)))
        return Inputs(dense, inputs.ids[which])

    def join_keys(self, candidates: Candidates) -> Ints:
        """int64[n]: the join key of each candidate; 0 without a joiner."""
        if self._join_on is None:
            return np.zeros(count_of(candidates), dtype=np.int64)
        keys = column_of(self._join_on, self._kinds[self._join_on], candidates)
        return keys.astype(np.int64)

    def _entity_id(self, key: str) -> Ints:
        """int64[1]; `key` is canonical."""
        return entity_ids(self._key_fields[self._entity.name], [key])
