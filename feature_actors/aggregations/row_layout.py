"""The layout of the features in an entity's row, and the program that computes them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from freshrank.actors.messages import IdField, Ints
from freshrank.feature_actors.aggregations.kernel_types import (
    CLOCKS,
    HEADER_WORDS,
    OFFSET,
    PARAMETERS,
)
from freshrank.feature_actors.streams.expressions.conditions import Expression
from freshrank.feature_actors.streams.expressions.numbers import NumberExpression


@dataclass(frozen=True, slots=True)
class Bag:
    """A feature that is a bag of ids of the schema's field `source`."""

    field: IdField
    source: str
    learned: bool = True
    """Whether its ids are inputs of the model."""


@dataclass(frozen=True, slots=True)
class Placed:
    """One feature's share of a row, for the plan's description."""

    name: str
    words: int
    hop_ms: int
    """0 where nothing snaps to tiles."""
    keeps_ms: int | None
    """For how long an event can change the feature, ms; None: for ever."""
    error: str | None = None
    """By how much it may be wrong beyond its hop, for people; None where it is exact."""


@dataclass(frozen=True, slots=True)
class Line:
    """A line of a program, but for its place in the row, which the layout chooses."""

    opcode: int
    out: int
    """The first column of the output."""
    size: int = 1
    """Tiles or entries."""
    mask: int = -1
    """Line of `EventArrays.masks`; -1: every event."""
    source: int = 0
    """Line of `EventArrays.numbers` or `EventArrays.keys`, for an operation that has an input."""
    hop_ms: int = 0
    span_ms: int = 0
    """Length of a window, or a half-life."""
    delay_ms: int = 0
    """How long before the time of a read a window ends."""
    shift_ms: int = 0
    """How long before the epoch a tile begins."""
    changes: Sequence[tuple[int, int]] = ()
    """Times, ms, in order, and the `shift_ms` from each on: tiles by clocks that change."""
    whole: bool = False
    """Whether a window takes only tiles that were over by its end."""
    exact: bool = False
    """Whether its hop moves neither end of its window."""
    parameters: tuple[float, ...] = ()
    """Constants of the operation, at most four."""


class LineInputs:
    """What the lines of a program read of events, or of the elements of one list of an event."""

    def __init__(self) -> None:
        self.numbers: dict[str, NumberExpression] = {}
        """By their text, in order of `EventArrays.numbers`."""
        self.keys: list[str] = []
        """Fields that are read as ids, in order of `EventArrays.keys`."""
        self.conditions: dict[str, Expression] = {}
        """By their text, in order of `EventArrays.masks`."""
        self.lines: list[int] = []
        """The numbers of the lines."""

    def fields_read(self) -> frozenset[str]:
        """The fields that the lines are computed from."""
        found = set(self.keys)
        for condition in self.conditions.values():
            found |= condition.fields_read()
        for number in self.numbers.values():
            found |= number.fields_read()
        return frozenset(found)


class Layout:
    """Collects what aggregates ask for; equal conditions and equal inputs are shared.

    What is asked for is read of events, until `read_each` names a list.
    """

    def __init__(self) -> None:
        self.inputs: dict[str, LineInputs] = {}
        """By the list whose elements are read; "": events."""
        self.columns: list[str] = []
        """Numeric features, in order of their output columns."""
        self.bags: list[Bag] = []
        """Features that are bags, in order of their output columns."""
        self.placed: list[Placed] = []
        self._program: list[list[int]] = []
        header = np.zeros(HEADER_WORDS, dtype=np.int64)
        header[OFFSET] = -1
        self._empty = [header]
        self.read_each("")

    def read_each(self, each: str) -> None:
        """What is asked for from here on is read of each element of the list `each`."""
        self._inputs = self.inputs.setdefault(each, LineInputs())

    def fields_read(self) -> frozenset[str]:
        """The fields that the features are computed from."""
        return frozenset[str]().union(*(one.fields_read() for one in self.inputs.values()))

    @property
    def words(self) -> int:
        """The width of a row."""
        return sum(map(len, self._empty))

    @property
    def program(self) -> Ints:
        """int64[o, 16 + 2 c]."""
        width = max(map(len, self._program), default=CLOCKS)
        program = np.zeros((len(self._program), width), dtype=np.int64)
        for line, entries in zip(program, self._program, strict=True):
            line[: len(entries)] = entries
        return program

    @property
    def empty_row(self) -> Ints:
        """int64[words]: the row of an entity without events (floats are read through a view)."""
        return np.concatenate(self._empty)

    def mask(self, where: Expression | None) -> int:
        """The line of `EventArrays.masks` for a condition; -1 for none."""
        if where is None:
            return -1
        conditions = self._inputs.conditions
        conditions.setdefault(str(where), where)
        return list(conditions).index(str(where))

    def number(self, expression: NumberExpression) -> int:
        """The line of `EventArrays.numbers` for a field or a calculation."""
        numbers = self._inputs.numbers
        numbers.setdefault(str(expression), expression)
        return list(numbers).index(str(expression))

    def key(self, field: str) -> int:
        """The line of `EventArrays.keys` for a field."""
        keys = self._inputs.keys
        if field not in keys:
            keys.append(field)
        return keys.index(field)

    def number_column(self, name: str) -> int:
        """A new column of `FeatureBlock.values`."""
        self.columns.append(name)
        return len(self.columns) - 1

    def bag_columns(self, name: str, source: str, width: int, *, learned: bool = True) -> int:
        """The first of `width` new columns of `FeatureBlock.ids` for ids of the field `source`."""
        first = sum(bag.field.width for bag in self.bags)
        self.bags.append(Bag(IdField(name, width), source, learned))
        return first

    def words_of(self, name: str) -> slice:
        """The words of a row that belong to the feature `name`. Raises KeyError."""
        begin = HEADER_WORDS
        for placed in self.placed:
            if placed.name == name:
                return slice(begin, begin + placed.words)
            begin += placed.words
        raise KeyError(name)

    def add(
        self,
        name: str,
        line: Line,
        identity: Ints,
        keeps_ms: int | None,
        error: str | None = None,
    ) -> None:
        """Give the feature `name` its words, which hold `identity` int64[.] before any event.

        `keeps_ms` is how long an event can matter to it; None: for ever. `error` says by how much
        the feature may be wrong; None where it is exact.
        """
        entries = [line.size, line.mask, line.source, line.hop_ms, line.span_ms, line.out]
        entries += [line.delay_ms, line.shift_ms, int(line.whole), len(line.changes)]
        parameters = np.zeros(CLOCKS - PARAMETERS)
        parameters[: len(line.parameters)] = line.parameters
        constants = parameters.view(np.int64).tolist()
        self._inputs.lines.append(len(self._program))
        clocks = [time for time, _ in line.changes] + [shift for _, shift in line.changes]
        self._program.append([line.opcode, self.words, *entries, *constants, *clocks])
        self._empty.append(identity)
        hop_ms = 0 if line.exact else line.hop_ms
        placed = Placed(name, len(identity), hop_ms, keeps_ms, error)
        self.placed.append(placed)
