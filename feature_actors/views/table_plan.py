"""The views of one entity over one stream, compiled into the layout of a row and its program."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import xxhash

from freshrank.actors.messages import Doubles, IdField, Ints
from freshrank.feature_actors.aggregations.base import Aggregate
from freshrank.feature_actors.aggregations.dispatch import read_rows
from freshrank.feature_actors.aggregations.kernel_types import FeatureBlock
from freshrank.feature_actors.aggregations.row_layout import Layout, LineInputs, Placed
from freshrank.feature_actors.streams.stream import Entity, Stream
from freshrank.feature_actors.views.feature_view import FeatureView
from freshrank.feature_actors.views.row_plan import WORD_BYTES, RowColumn, RowPlan

# Part of every fingerprint: grows when the meaning of a row's words changes.
_ROW_FORMAT = 1


class ProgramPart(NamedTuple):
    """The lines of a program that read events, or the elements of one list of each event."""

    each: str
    """The list; "" for events."""
    inputs: LineInputs
    program: Ints
    """int64[o, 16 + 2 c]."""


class TablePlan(RowPlan):
    """The features that the events of one stream give an entity: the row that holds them.

    Parameters
    ----------
    views
        At least one; all of the same entity and stream.
    """

    def __init__(self, views: Sequence[type[FeatureView]]) -> None:
        self.entity: Entity = views[0].entity
        stream = views[0].source
        self.source: Stream = stream if stream.key == self.entity else stream.keyed_by(self.entity)
        self.layout = Layout()
        self.columns_of_rows: list[RowColumn] = []
        self.aggregates: list[Aggregate] = []
        """What computes each of these columns: a part of a feature, as one of its windows."""
        self.definitions: dict[str, str] = {}
        """By name of a column of numbers, or of a bag: the definition that its values follow."""
        for view in views:
            for name, feature in view.features.items():
                self.layout.read_each(feature.each(stream.fields, name))
                self._lay_out(name, feature)
        self.columns: tuple[str, ...] = tuple(self.layout.columns)
        """Names of the numeric features, in the order of `FeatureBlock.values`."""
        self.id_fields: tuple[IdField, ...] = tuple(bag.field for bag in self.layout.bags)
        """The bags of ids, in the order of `FeatureBlock.ids`."""
        self.id_width = sum(field.width for field in self.id_fields)
        self.row_words = self.layout.words
        self.program = self.layout.program
        """int64[o, 16 + 2 c]: all features."""
        self.program_parts = [
            ProgramPart(each, inputs, self.program[inputs.lines])
            for each, inputs in self.layout.inputs.items()
            if inputs.lines
        ]
        """The program by what its lines read."""
        self.empty_row: Doubles = self.layout.empty_row.view(np.float64)
        """float64[words]: the row of an entity without events."""
        definitions = {
            name: self._told(feature) for view in views for name, feature in view.features.items()
        }
        self.fingerprint = _fingerprint(views[0], definitions)
        """16 hex digits: equal for definitions whose rows mean the same."""
        without_types = {n: one.canonical() for view in views for n, one in view.features.items()}
        self.former_fingerprint = _fingerprint(views[0], without_types)

    @property
    def basis(self) -> str:
        """See `RowPlan`."""
        source = self.source
        time, rekeyed = source.time_field.canonical, " rekeyed" if source.rekeyed else ""
        placed = f"{source.placed_by}{rekeyed}"
        return f"{super().basis}, id {source.id}, time {time}, partitioner {placed}"

    def _lay_out(self, name: str, feature: Aggregate) -> None:
        """Give a feature its place, and note what its words and values follow from."""
        layout = self.layout
        for part in feature.parts():
            numbers, bags, words = len(layout.columns), len(layout.bags), layout.words
            part.lay_out(name, layout)
            definition = self._told(part)
            column = RowColumn(layout.placed[-1].name, definition, layout.words - words)
            self.columns_of_rows.append(column)
            self.aggregates.append(part)
            made = [*layout.columns[numbers:], *(bag.field.name for bag in layout.bags[bags:])]
            self.definitions |= dict.fromkeys(made, definition)

    def _told(self, feature: Aggregate) -> str:
        """The definition of a feature, with the kinds of the fields that it is computed from."""
        fields = self.source.fields.with_elements
        kinds = [
            f"{one} {fields[one].kind.value.__name__}" for one in sorted(feature.fields_read())
        ]
        return f"{feature.canonical()} of {', '.join(kinds)}" if kinds else feature.canonical()

    @property
    def horizon_ms(self) -> int | None:
        """For how long an event can change a row, ms; None when some feature keeps it for ever."""
        kept = [placed.keeps_ms for placed in self.layout.placed]
        return None if None in kept else max(keeps for keeps in kept if keeps is not None)

    def block(self, rows: int) -> FeatureBlock:
        """An uninitialised block for `rows` rows."""
        return FeatureBlock(
            np.empty((rows, len(self.columns)), dtype=np.float64),
            np.empty((rows, self.id_width), dtype=np.int64),
            np.empty((rows, self.id_width), dtype=np.float64),
        )

    def read(self, rows: Doubles, at_ms: Ints) -> FeatureBlock:
        """The features of `rows` float64[n, words], each as of its time in `at_ms` int64[n].

        A time before the newest event of a row counts as the time of that event.
        """
        out = self.block(len(rows))
        read_rows(self.program, np.ascontiguousarray(rows), at_ms, *out)
        return out

    def describe(self) -> str:
        """A table for people: bytes of each feature and in all, and the hop of each window."""
        lines = [
            f"{self.entity.name}: {self.bytes_per_entity} bytes an entity, "
            f"{len(self.columns)} numbers and {self.id_width} ids from {self.source.topic!r}"
        ]
        width = max(len(placed.name) for placed in self.layout.placed)
        for placed in self.layout.placed:
            size = placed.words * WORD_BYTES
            lines.append(f"  {placed.name:<{width}}  {size:>6} B  {exactness(placed)}")
        return "\n".join(lines)


def _fingerprint(view: type[FeatureView], definitions: Mapping[str, str]) -> str:
    entity, source = view.entity, view.source
    time = source.time_field.canonical
    lines = [f"format {_ROW_FORMAT}", f"{entity.name} {entity.key} {source.topic} {time}"]
    lines += [f"{name} = {definition}" for name, definition in definitions.items()]
    return xxhash.xxh64_hexdigest("\n".join(lines).encode())


def exactness(placed: Placed) -> str:
    """How exact a feature is, for people."""
    tail = f"tail exact to {_duration(placed.hop_ms)}" if placed.hop_ms else None
    return ", ".join(filter(None, (tail, placed.error))) or "exact"


def _duration(length_ms: int) -> str:
    for unit, size in (("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000)):
        if length_ms % size == 0:
            return f"{length_ms // size}{unit}"
    return f"{length_ms}ms"
