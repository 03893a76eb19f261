"""Features and context to the inputs of a model: the same code trains and serves."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import xxhash

from freshrank.actors.errors import ConfigError
from freshrank.actors.kernels.hashing import mix_columns
from freshrank.actors.messages import Doubles, IdField, InputLayout, Inputs, Ints
from freshrank.feature_actors.aggregations.kernel_types import FeatureBlock
from freshrank.feature_actors.encoding.derived_numbers import DerivedInputs, DerivedNumbers
from freshrank.feature_actors.encoding.gather import gather_ids, gather_matches, gather_numbers
from freshrank.feature_actors.encoding.input_ids import salts_of
from freshrank.feature_actors.encoding.source_weight import ContextEntry
from freshrank.feature_actors.streams.columns import Columns
from freshrank.feature_actors.streams.fields import Field, Kind
from freshrank.feature_actors.streams.table import TableField
from freshrank.feature_actors.views.plan import FeaturePlan
from freshrank.feature_actors.views.row_plan import RowSource

_NONE_DERIVED = DerivedInputs()

# The context is encoded as a table with a row for each candidate. It has no bags.
_NO_WEIGHTS: Doubles = np.zeros((0, 0), dtype=np.float64)


class _Match(NamedTuple):
    """A bag over a field that the context has too."""

    name: str
    bag: str
    begin: int
    """The bag's first id column, of all tables."""
    end: int
    own: int
    """The column of the context's ids."""


class _Columns(NamedTuple):
    """The columns of the inputs that are filled from one table, or from the context."""

    dense: int
    """The dense input of the first number."""
    left: Ints
    """int64[., 2]: column of the table's ids, and id input."""
    right: Ints
    """int64[., 2]: column of the table's ids, and cross whose other side it is."""
    matches: Ints
    """int64[., 4]: as `gather_matches` takes them."""


class InputEncoder:
    """Turns feature blocks and context into `Inputs` of `layout`.

    Dense inputs are the sign times log1p of each numeric feature (a time since in seconds) and of
    each numeric context field, 0 where there is no value; and for each bag over a field that is
    in the context too, log1p of the weight that the bag gives to the row's own value (its decayed
    count, or how often it is among the last k). Id inputs are the context's text and integer
    fields (the entity's key always among them), the bags, and the crosses; each field is salted
    with its name, so that equal values of two fields are different ids.

    Parameters
    ----------
    plans
        The features of a request's entity, then of entities that a candidate names by their keys.
    stream
        The stream that has the context fields which a candidate carries.
    context
        The fields that a candidate carries, by their names, those that it takes from its row in a
        table, and weights of sources.
    crosses
        Pairs of id inputs whose combinations are ids too.
    derived
        Which numbers have further inputs: whether they are missing, how far they are from the
        median of the rows.

    Raises ConfigError for a context field or a cross that names nothing, or is given twice.
    """

    def __init__(
        self,
        plans: Sequence[FeaturePlan],
        stream: RowSource,
        context: Sequence[ContextEntry],
        crosses: Sequence[tuple[str, str]],
        derived: DerivedInputs = _NONE_DERIVED,
    ) -> None:
        key = plans[0].entity.key
        wanted = list(context) if key in context else [key, *context]
        fields = [_context_field(stream, wanted, index) for index in range(len(wanted))]
        self.table_fields: Mapping[str, TableField] = {
            given.name: given for given in wanted if isinstance(given, TableField)
        }
        """By name: the fields of the context that a candidate takes from its row in a table."""
        self._id_names = [field.name for field in fields if field.kind is not Kind.NUMBER]
        self._number_names = [field.name for field in fields if field.kind is Kind.NUMBER]
        self._tables = [table for plan in plans for table in plan.tables]
        columns = self._id_columns()
        matches = self._matches = list(self._find_matches())
        crossed = [_cross(columns, cross) for cross in crosses]
        self._crossed = {name: pair for (name, _), pair in zip(crossed, crosses, strict=True)}
        _check_names([*columns, *(name for name, _ in crossed)])
        pairs = [pair for _, found in crossed for pair in found]
        widths = {name: len(sources) for name, sources in columns.items()}
        widths |= {name: len(found) for name, found in crossed}
        self._first_derived, dense = self._dense_names(derived)
        self.layout = InputLayout(
            dense=dense,
            fields=tuple(IdField(name, width) for name, width in widths.items()),
        )
        single = [source for sources in columns.values() for source in sources]
        self._route([*single, *(left for left, _ in pairs)], [right for _, right in pairs], matches)
        self._salts = salts_of(widths)
        prints = "".join(table.fingerprint for table in self._tables)
        self.fingerprint = xxhash.xxh64_hexdigest(f"{prints} {self.layout} {pairs}".encode())
        """16 hex digits: equal for encoders whose inputs mean the same."""

    @property
    def matches(self) -> Mapping[str, tuple[str, str]]:
        """By name of a dense input: the bag and the field of the context that it compares."""
        return {one.name: (one.bag, self._id_names[one.own]) for one in self._matches}

    @property
    def crosses(self) -> Mapping[str, tuple[str, str]]:
        """By name of an id field: the two fields whose values it combines."""
        return self._crossed

    @property
    def context_names(self) -> tuple[str, ...]:
        """The context of `encode`: ids first (the entity's key among them), then numbers."""
        return (*self._id_names, *self._number_names)

    def context_of(self, columns: Columns) -> dict[str, Ints | Doubles]:
        """The context that the events themselves carry, in the form that `encode` takes."""
        found: dict[str, Ints | Doubles] = {}
        for name in self._id_names:
            found[name] = columns.hashed(name)
        for name in self._number_names:
            found[name] = columns.number(name)
        return found

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
            if len(columns.matches):
                gather_matches(ids, weights, lines, own_ids, columns.matches, dense)
        self.derived.fill([part.values for part in parts], lines_of, self._first_derived, dense)
        salted = np.empty_like(left)
        mix_columns(left, right, self._salts, salted)
        return Inputs(dense, salted)

    def _dense_names(self, wanted: DerivedInputs) -> tuple[int, tuple[str, ...]]:
        """How many dense inputs there are before the derived ones, and the names of all."""
        tables = [table.columns for table in self._tables]
        features = [name for names in tables for name in names]
        _check_names(features, "numeric")
        self.derived = DerivedNumbers(wanted, [*tables, self._number_names])
        """Those that are made of other numbers, after all others."""
        matches = [match.name for match in self._matches]
        names = (*features, *self._number_names, *matches, *self.derived.names)
        _check_names(names, "numeric")
        return len(names) - len(self.derived.names), names

    def _id_columns(self) -> dict[str, list[int]]:
        """The sources of each id field, crosses apart.

        A source ``s >= 0`` is id column ``s`` of all tables side by side, ``s < 0`` is column
        ``-1 - s`` of the context's ids.
        """
        columns = {name: [-1 - column] for column, name in enumerate(self._id_names)}
        begin = 0
        for bag in (bag for table in self._tables for bag in table.layout.bags):
            if bag.learned:
                _check_names([*columns, bag.field.name])
                columns[bag.field.name] = list(range(begin, begin + bag.field.width))
            begin += bag.field.width
        return columns

    def _find_matches(self) -> Iterator[_Match]:
        begin = 0
        for bag in (bag for table in self._tables for bag in table.layout.bags):
            end = begin + bag.field.width
            if bag.learned and bag.source in self._id_names:
                own = self._id_names.index(bag.source)
                yield _Match(f"{bag.field.name}_match", bag.field.name, begin, end, own)
            begin = end

    def _route(self, left: list[int], right: list[int], matches: list[_Match]) -> None:
        """Assign to each table, and at last to the context, the inputs that it fills."""
        self._crosses = len(right)
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
            self._columns.append(
                _Columns(
                    dense,
                    _within(left, begin, end),
                    _within(right, begin, end),
                    np.array(own, dtype=np.int64).reshape(-1, 4),
                )
            )
            dense, begin = dense + len(table.columns), end
        self._columns.append(
            _Columns(
                dense,
                _within([-1 - source for source in left], 0, len(self._id_names)),
                _within([-1 - source for source in right], 0, len(self._id_names)),
                np.zeros((0, 4), dtype=np.int64),
            )
        )


def _within(sources: Sequence[int], begin: int, end: int) -> Ints:
    """int64[., 2]: the sources from `begin` to `end`, counted from there, and their columns."""
    found = [
        (source - begin, column) for column, source in enumerate(sources) if begin <= source < end
    ]
    return np.array(found, dtype=np.int64).reshape(-1, 2)


def _context_field(stream: RowSource, wanted: Sequence[ContextEntry], index: int) -> Field:
    names = [given if isinstance(given, str) else given.name for given in wanted[: index + 1]]
    if names[index] in names[:index]:
        raise ConfigError("context", f"{names[index]!r} is given twice", "Drop one of them.")
    given = wanted[index]
    if not isinstance(given, str):
        return given.field
    return stream.fields.require_own(given, f"context[{index}]")


def _check_names(names: Sequence[str], kind: str = "id") -> None:
    for index, name in enumerate(names):
        if name in names[:index]:
            raise ConfigError(
                "context", f"two {kind} inputs are called {name!r}", "Rename the feature."
            )


def _cross(
    columns: Mapping[str, list[int]], cross: tuple[str, str]
) -> tuple[str, list[tuple[int, int]]]:
    """Name and source pairs of a cross: of two single fields, or of a bag and a single one."""
    place = f"crosses {cross!r}"
    if isinstance(cross, str) or len(cross) != 2:
        raise ConfigError(place, "it is no pair", 'Write pairs, as in [("user_id", "item_id")].')
    for name in cross:
        if name not in columns:
            raise ConfigError(
                place, f"{name!r} is no id input", f"There are: {', '.join(columns)}."
            )
    left, right = (columns[name] for name in cross)
    if len(left) > 1 and len(right) > 1:
        raise ConfigError(place, "both sides are bags", "Cross a bag with a single field.")
    if len(right) > 1:
        left, right = right, left
    return "_x_".join(cross), [(source, right[0]) for source in left]
