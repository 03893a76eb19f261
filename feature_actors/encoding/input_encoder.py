"""Features and context to the inputs of a model: the same code trains and serves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import xxhash

from freshrank.actors.kernels.hashing import mix_columns, mix_thirds
from freshrank.actors.messages import Doubles, IdField, InputLayout, Inputs, Ints
from freshrank.feature_actors.aggregations.kernel_types import FeatureBlock
from freshrank.feature_actors.encoding.cleaned_numbers import CleanedNumbers
from freshrank.feature_actors.encoding.context_entries import (
    ContextEntry,
    context_fields,
    declared,
    source_weights,
    table_fields,
)
from freshrank.feature_actors.encoding.derived_numbers import DerivedInputs, DerivedNumbers
from freshrank.feature_actors.encoding.entries.bag_matches import BagMatch, bag_matches
from freshrank.feature_actors.encoding.entries.made_columns import MadeColumns
from freshrank.feature_actors.encoding.entries.meanings import InputMeanings
from freshrank.feature_actors.encoding.gather import gather_ids, gather_matches, gather_numbers
from freshrank.feature_actors.encoding.id_inputs import (
    check_names,
    crossed_inputs,
    plain_inputs,
    routes,
)
from freshrank.feature_actors.encoding.input_ids import salts_of
from freshrank.feature_actors.streams.columns import Columns
from freshrank.feature_actors.streams.fields import Kind
from freshrank.feature_actors.streams.table import TableField
from freshrank.feature_actors.views.plan import FeaturePlan
from freshrank.feature_actors.views.row_plan import RowSource

_NONE_DERIVED = DerivedInputs()

# The context is encoded as a table with a row for each candidate. It has no bags.
_NO_WEIGHTS: Doubles = np.zeros((0, 0), dtype=np.float64)


class _Columns(NamedTuple):
    """The columns of the inputs that are filled from one table, or from the context."""

    dense: int
    """The dense input of the first number."""
    left: Ints
    """int64[., 2]: column of the table's ids, and id input."""
    right: Ints
    """int64[., 2]: column of the table's ids, and cross whose other side it is."""
    third: Ints
    """int64[., 2]: column of the table's ids, and cross whose third side it is."""
    matches: Ints
    """int64[., 4]: as `gather_matches` takes them."""


class InputEncoder:
    """Turns feature blocks and context into `Inputs` of `layout`.

    Dense inputs are the sign times log1p of each numeric feature (a time since in seconds) and of
    each numeric context field, 0 where there is no value; and for each bag over a field that is
    in the context too, log1p of the weight that the bag gives to the row's own value (its decayed
    count, or how often it is among the last k). Id inputs are the context's text and integer
    fields (the entity's key always among them), the bags, and the crosses; each field is salted
    with its name, so that equal values of two fields are different ids. Numbers that the learner
    cleans are NaN where they are missing; it mixes the buckets of numbers into ids.

    Parameters
    ----------
    plans
        The features of a request's entity, then of entities that a candidate names by their keys.
    stream
        The stream that has the context fields which a candidate carries.
    context
        Fields that a candidate carries (names) or takes from a table, and weights of sources.
    crosses
        Pairs and triples of id inputs whose combinations are ids too.
    derived
        Which numbers have further inputs (whether missing, how far from the median of the rows,
        their buckets), and how they are cleaned.

    Raises ConfigError for a context field or a cross that names nothing, or is given twice.
    """

    def __init__(
        self,
        plans: Sequence[FeaturePlan],
        stream: RowSource,
        context: Sequence[ContextEntry],
        crosses: Sequence[Sequence[str]],
        derived: DerivedInputs = _NONE_DERIVED,
    ) -> None:
        key = plans[0].entity.key
        wanted = list(context) if key in context else [key, *context]
        fields = context_fields(stream, wanted)
        self.table_fields: Mapping[str, TableField] = table_fields(wanted)
        """By name: the fields of the context that a candidate takes from its row in a table."""
        self.made = MadeColumns(wanted)
        """What of the context is made."""
        self.kinds: Mapping[str, Kind] = {field.name: field.kind for field in fields}
        """By name: what each entry of the context is taken for."""
        self._id_names = [field.name for field in fields if field.kind is not Kind.NUMBER]
        self._number_names = [field.name for field in fields if field.kind is Kind.NUMBER]
        self._tables = [table for plan in plans for table in plan.tables]
        sources = self._id_columns()
        self._matches = list(bag_matches(self._tables, self._id_names))
        self._first_derived, dense = self._dense_names(derived)
        plain = plain_inputs(sources, self.cleaned.bucketed)
        crossed = crossed_inputs(plain, crosses)
        buckets = [one.input for one in self.cleaned.bucketed]
        check_names([*sources, *buckets, *(one.name for one in crossed)])
        self.crosses: Mapping[str, Sequence[str]] = {"_x_".join(one): one for one in crosses}
        """By name of an id field: the two or three inputs whose values it combines."""
        inputs = [*plain.values(), *crossed]
        id_fields = tuple(one.field for one in inputs)
        self.layout = self._layout(dense, id_fields, wanted)
        columns = [column for one in inputs for column in one.columns]
        self._route(columns, self._matches)
        self._salts = salts_of({field.name: field.width for field in id_fields})
        tells = self._tells([column for column in columns if len(column) > 1])
        self.fingerprint, self.former_fingerprint = self._fingerprints(tells)
        """16 hex digits: equal for encoders whose inputs mean the same; and those of earlier
        versions, which did not tell the types of fields."""

    def _layout(
        self, dense: tuple[str, ...], fields: tuple[IdField, ...], wanted: Sequence[ContextEntry]
    ) -> InputLayout:
        cleaning, entries = self.cleaned.declared, declared(wanted)
        derived = self.derived.names
        made_of = InputMeanings(self._tables, entries, self.kinds, derived, cleaning)
        names = [field.name for field in fields]
        of_ids = made_of.ids(names, self.crosses, self.cleaned.numbers)
        meanings = (*made_of.numbers(dense, self.matches), *of_ids)
        absent = made_of.absent(dense)
        return InputLayout(dense, fields, cleaning, source_weights(wanted), meanings, absent)

    def _fingerprints(self, tells: str) -> tuple[str, str]:
        kinds = {name: kind.value.__name__ for name, kind in self.kinds.items()}
        made = "".join(table.fingerprint for table in self._tables)
        before = "".join(table.former_fingerprint for table in self._tables)
        now, former = f"{made} {tells} {kinds}", f"{before} {tells}"
        return xxhash.xxh64_hexdigest(now.encode()), xxhash.xxh64_hexdigest(former.encode())

    def _tells(self, crossed: Sequence[tuple[int, ...]]) -> str:
        """The inputs, the sources of `crossed` columns, and what is told where it is missing."""
        told = f" {self.cleaned.told} {self.cleaned.numbers}" if self.cleaned.told else ""
        told += f" {self.made.canonical}" if self.made.names else ""
        return f"{self.layout} {crossed}{told}"

    @property
    def position_column(self) -> int | None:
        """The dense input of the place in the list."""
        wanted = self.made.position
        return None if wanted is None else self.layout.dense.index(wanted.name)

    @property
    def matches(self) -> Mapping[str, tuple[str, str]]:
        """By name of a dense input: the bag and the field of the context that it compares."""
        return {one.name: (one.bag, self._id_names[one.own]) for one in self._matches}

    @property
    def context_names(self) -> tuple[str, ...]:
        """The context of `encode`: ids first (the entity's key among them), then numbers."""
        return (*self._id_names, *self._number_names)

    def context_of(self, columns: Columns) -> dict[str, Ints | Doubles]:
        """The context that the events themselves carry, in the form that `encode` takes."""
        made = self.made.of_events(columns)
        ids = {name: columns.hashed(name) for name in self._id_names if name not in made}
        own = [name for name in self._number_names if name not in made]
        return {**ids, **{name: columns.number(name) for name in own}, **made}

    def encode(
        self,
        blocks: Sequence[FeatureBlock],
        which: Sequence[Ints],
        context: Mapping[str, Ints | Doubles],
    ) -> Inputs:
        """The inputs of ``n`` rows.

        For each table of the plans, in their order, `blocks` has the features of some of its rows
        and `which` int64[n] which of these lines row ``i`` takes. `context` holds, for the
        entity's key and each context field, ids int64[n] (as `Columns.hashed` gives them) or
        numbers float64[n]; or one value for all rows.
        """
        rows = len(which[0])
        own_ids = np.empty((rows, len(self._id_names)), dtype=np.int64)
        for column, name in enumerate(self._id_names):
            own_ids[:, column] = context[name]
        own_numbers = np.empty((rows, len(self._number_names)), dtype=np.float64)
        for column, name in enumerate(self._number_names):
            own_numbers[:, column] = context[name]
        dense = np.empty((rows, len(self.layout.dense)), dtype=np.float32)
        left = np.empty((rows, len(self._salts)), dtype=np.int64)
        right = np.empty((rows, self._crosses), dtype=np.int64)
        third = np.empty((rows, len(self._thirds)), dtype=np.int64)
        own = FeatureBlock(own_numbers, own_ids, _NO_WEIGHTS)
        parts, lines_of = (*blocks, own), (*which, np.arange(rows))
        sources = zip(parts, lines_of, self._columns, strict=True)
        for (numbers, ids, weights), lines, columns in sources:
            # A call takes as long as the work on a few candidates.
            if numbers.shape[1]:
                gather_numbers(numbers, lines, columns.dense, dense)
            if len(columns.left):
                gather_ids(ids, lines, columns.left, left)
            if len(columns.right):
                gather_ids(ids, lines, columns.right, right)
            if len(columns.third):
                gather_ids(ids, lines, columns.third, third)
            if len(columns.matches):
                gather_matches(ids, weights, lines, own_ids, columns.matches, dense)
        values = [part.values for part in parts]
        self.derived.fill(values, lines_of, self._first_derived, dense)
        self.cleaned.mark(values, lines_of, dense)
        return Inputs(dense, self._mixed(left, right, third))

    def _mixed(self, left: Ints, right: Ints, third: Ints) -> Ints:
        """int64[n, f]: the ids, of the sides that fill each column."""
        if self._unsourced:
            left[:, self._unsourced] = 1
        found = np.empty_like(left)
        mix_columns(left, right, self._salts, found)
        if len(self._thirds):
            mix_thirds(third, self._thirds, found)
        return found

    def _dense_names(self, wanted: DerivedInputs) -> tuple[int, tuple[str, ...]]:
        """How many dense inputs there are before the derived ones, and the names of all."""
        tables = [table.columns for table in self._tables]
        features = [name for names in tables for name in names]
        check_names(features, "numeric")
        parts = [*tables, self._number_names]
        self.derived = DerivedNumbers(wanted, parts)
        """Those that are made of other numbers, after all others."""
        matches = [match.name for match in self._matches]
        names = (*features, *self._number_names, *matches, *self.derived.names)
        check_names(names, "numeric")
        self.cleaned = CleanedNumbers(wanted.cleaning, parts, names)
        """Those that the learner cleans."""
        return len(names) - len(self.derived.names), names

    def _id_columns(self) -> dict[str, list[int]]:
        """The sources of each field of the context and each bag."""
        columns = {name: [-1 - column] for column, name in enumerate(self._id_names)}
        begin = 0
        for bag in (bag for table in self._tables for bag in table.layout.bags):
            if bag.learned:
                check_names([*columns, bag.field.name])
                columns[bag.field.name] = list(range(begin, begin + bag.field.width))
            begin += bag.field.width
        return columns

    def _route(self, columns: Sequence[tuple[int, ...]], matches: Sequence[BagMatch]) -> None:
        """Assign to each table, and at last to the context, the inputs that it fills.

        `columns` are the sources of all id columns, those with more than one last.
        """
        self._crosses = sum(len(column) > 1 for column in columns)
        self._unsourced = [at for at, column in enumerate(columns) if not column]
        """The id columns that are made of buckets alone."""
        thirds = {at: column[2] for at, column in enumerate(columns) if len(column) > 2}
        self._thirds = np.array(list(thirds), dtype=np.int64)
        """int64[t]: the id columns that have a third side."""
        first_cross = len(columns) - self._crosses
        left = {at: column[0] for at, column in enumerate(columns) if column}
        right = {at - first_cross: one[1] for at, one in enumerate(columns) if len(one) > 1}
        third = dict(enumerate(thirds.values()))
        self._columns: list[_Columns] = []
        dense, begin = 0, 0
        first_match = self._first_derived - len(matches)
        for table in self._tables:
            end = begin + table.id_width
            own = [
                (match.begin - begin, match.end - begin, match.own, first_match + place)
                for place, match in enumerate(matches)
                if begin <= match.begin < end
            ]
            filled = routes((left, right, third), range(begin, end))
            found = np.array(own, dtype=np.int64).reshape(-1, 4)
            self._columns.append(_Columns(dense, *filled, found))
            dense, begin = dense + len(table.columns), end
        filled = routes((left, right, third), range(-1, -1 - len(self._id_names), -1))
        self._columns.append(_Columns(dense, *filled, np.zeros((0, 4), dtype=np.int64)))
