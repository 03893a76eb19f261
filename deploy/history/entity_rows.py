"""The rows that features are asked for: entities, times, and columns to carry along."""

from __future__ import annotations

import datetime
import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from freshrank.actors.errors import BadRecord, ConfigError, nearest
from freshrank.actors.messages import Ints
from freshrank.deploy.history.columnar.pyarrow_import import import_pyarrow
from freshrank.deploy.pipelines.pipeline import Pipeline
from freshrank.feature_actors.streams.fields import Kind
from freshrank.feature_actors.streams.keys.compound_key import compound_ids, parts_of
from freshrank.feature_actors.streams.stream import Stream
from freshrank.feature_actors.streams.times.faults import time_faults
from freshrank.feature_actors.streams.times.reader import TimeReader
from freshrank.feature_actors.streams.times.time_field import TimeField
from freshrank.feature_actors.streams.times.units import TimeUnit

if TYPE_CHECKING:
    import pyarrow as pa

TIME = "time"
"""The column with the times of rows, unless they have that of the stream."""

_LATEST_MS = 253_402_300_799_999
"""The end of the year 9999."""


@dataclass(frozen=True, slots=True)
class EntityRows:
    """``n`` rows, in the order in which they were given."""

    table: pa.Table
    """As they were given."""
    names: Mapping[str, Sequence[str]]
    """By the name of an entity: the canonical keys of the rows; empty where a row lacks a part of a
    compound key."""
    times_ms: Ints
    """int64[n]."""
    lacking: Mapping[str, Sequence[str]]
    """By the name of each other entity: the columns of its key that the rows do not have."""


def key_columns(pipeline: Pipeline) -> dict[str, tuple[str, ...]]:
    """By the name of each entity: the columns of its key, as requests and events name them.

    The entity that requests name comes first. An entity that is not compound has a single column.
    """
    stream = pipeline.stream
    in_json = {one.name: one.encode_name for one in msgspec.structs.fields(stream.event_type)}
    keys = {name: plan.entity.parts for name, plan in pipeline.plans.items()}
    keys[stream.key.name] = stream.key.parts
    return {name: tuple(in_json[part] for part in parts) for name, parts in keys.items()}


def columns_of_ids(parts: Sequence[str], names: Sequence[str]) -> dict[str, list[str]]:
    """The ids of entities by the columns of their key."""
    if len(parts) == 1:
        return {parts[0]: list(names)}
    ids = [parts_of(name, len(parts)) for name in names]
    return {part: [one[at] for one in ids] for at, part in enumerate(parts)}


def read_rows(pipeline: Pipeline, given: object, now_ms: int) -> EntityRows:
    """Check rows: a table of Arrow, a data frame, columns by name, or a list of dicts.

    They have the keys of entities (at least one), and a time in a column ``time`` or in that of
    the first stream's event time: a timestamp, an ISO-8601 text, or an integer (ms since the Unix
    epoch, or in the stream's unit). Raises ConfigError that names the row.
    """
    table = _table(given)
    keys = key_columns(pipeline)
    columns = {*table.column_names}
    present = {name: parts for name, parts in keys.items() if columns.issuperset(parts)}
    if not present:
        single = [parts[0] for parts in keys.values() if len(parts) == 1]
        raise _unknown("rows", " or ".join(map(repr, single)), single[0], table)
    names = {
        name: _compound_names(pipeline, name, parts, table)
        if len(parts) > 1
        else _names(pipeline, name, parts[0], table[parts[0]].to_pylist())
        for name, parts in present.items()
    }
    lacking = {
        name: [part for part in parts if part not in columns]
        for name, parts in keys.items()
        if name not in present
    }
    return EntityRows(table, names, _times(pipeline.stream, table, now_ms), lacking)


def as_of(text: str, now_ms: int, place: str) -> int:
    """The moment that a text names: ISO 8601 with its zone, or ms since the Unix epoch.

    Raises ConfigError at `place`.

    >>> as_of("2024-05-17T11:30:00+02:00", 1_715_938_000_000, "--at")
    1715938200000
    """
    value: object = int(text) if text.isascii() and text.isdigit() else text
    return int(_times_ms([value], TimeField(TIME), place, now_ms)[0])


def _table(given: object) -> pa.Table:
    arrow = import_pyarrow("entity_rows")
    table: pa.Table
    try:
        if isinstance(given, Sequence):
            table = arrow.Table.from_pylist(list(given))
        else:
            table = given if isinstance(given, arrow.Table) else arrow.table(given)
    except (TypeError, ValueError, AttributeError) as error:  # of Arrow, too
        raise ConfigError(
            "entity_rows",
            f"{type(given).__name__} is no table: {error}",
            "Give a data frame, a table of Arrow, columns by name, or a list of dicts.",
        ) from error
    return table


def _names(pipeline: Pipeline, entity: str, key: str, values: Sequence[object]) -> list[str]:
    """The canonical keys of an entity."""
    known: dict[object, str] = {}
    text = pipeline.stream.fields[_field_of(pipeline.stream, key)].kind is Kind.TEXT
    for number, value in enumerate(values):
        if value in known:
            continue
        given = _without_fraction(value)
        if isinstance(given, int) and text:
            given = str(given)
        place = f"row {number + 1} of the rows, {key}"
        if not isinstance(given, str | int):
            raise ConfigError(place, f"{value!r} is no key", f"Give each row its {key}.")
        try:
            known[value] = pipeline.online_features.canonical_key(entity, given)
        except BadRecord as error:
            raise ConfigError(place, error.reason, "Give a key that events may have.") from error
    return [known[value] for value in values]


def _compound_names(
    pipeline: Pipeline, entity: str, parts: Sequence[str], table: pa.Table
) -> list[str]:
    """The canonical ids of a compound entity, of columns that each have a part."""
    known: dict[tuple[object, ...], str] = {}
    rows = list(zip(*(table[part].to_pylist() for part in parts), strict=True))
    for number, row in enumerate(rows):
        values = [_without_fraction(value) for value in row]
        if row in known or any(map(_is_missing, values)):
            known.setdefault(row, "")
            continue
        place = f"row {number + 1} of the rows, {' and '.join(parts)}"
        (text,) = compound_ids([[str(value)] for value in values])
        try:
            known[row] = pipeline.online_features.canonical_key(entity, text)
        except BadRecord as error:
            raise ConfigError(place, error.reason, "Give keys that events may have.") from error
    return [known[row] for row in rows]


def _is_missing(value: object) -> bool:
    return value in (None, "") or (isinstance(value, float) and math.isnan(value))


def _without_fraction(value: object) -> object:
    """`value`; an int for a float without fraction: pandas makes those beside missing ids."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _field_of(stream: Stream, in_json: str) -> str:
    fields = msgspec.structs.fields(stream.event_type)
    return next(one.name for one in fields if one.encode_name == in_json)


def _times(stream: Stream, table: pa.Table, now_ms: int) -> Ints:
    fields = msgspec.structs.fields(stream.event_type)
    own = next(one.encode_name for one in fields if one.name == stream.time)
    for name, declared in ((TIME, TimeField(TIME)), (own, stream.time_field)):
        if name in table.column_names:
            return _times_ms(_moments(table[name], declared), declared, name, now_ms)
    raise _unknown("rows", f"{TIME!r} or {own!r}", own, table)


def _moments(column: pa.ChunkedArray, declared: TimeField) -> list[Any]:
    """The values of a column of times; of timestamps, which may be in ns, without that rest."""
    types = import_pyarrow("entity_rows").types
    if types.is_timestamp(column.type) or types.is_date(column.type):
        zone = getattr(column.type, "tz", None) or (None if declared.zone else "UTC")
        column = column.cast(import_pyarrow("").timestamp("us", tz=zone), safe=False)
    return column.to_pylist()


def _times_ms(values: Sequence[Any], declared: TimeField, place: str, now_ms: int) -> Ints:
    """int64[n]: values of the same type as ms. Raises ConfigError that names the row."""
    kind = type(values[0]) if values else int
    if not issubclass(kind, int | str | datetime.datetime) or issubclass(kind, bool):
        raise _no_time(place, 0, f"{values[0]!r} is no time")
    unit = declared.unit if declared.kind is int else TimeUnit.MILLISECONDS
    field = TimeField(TIME, kind, unit, declared.zone)
    moment = msgspec.defstruct("Moment", [(TIME, kind)], gc=False)
    for number, value in enumerate(values):
        if not isinstance(value, kind):
            raise _no_time(place, number, f"{value!r} is no {kind.__name__}, as the first time is")
    times = TimeReader(field).read([moment(value) for value in values])
    log_ms = np.full(len(values), now_ms, dtype=np.int64)
    faults = time_faults(times.given, log_ms, _LATEST_MS - now_ms, times.unit)
    for fault in itertools.chain(times.unreadable.values(), faults):
        raise _no_time(place, fault.place, fault.reason)
    return times.ms


def _no_time(place: str, number: int, reason: str) -> ConfigError:
    return ConfigError(
        f"row {number + 1} of the rows, {place}",
        reason,
        "Give timestamps, texts as 2024-05-17T09:30:00Z, or integers of milliseconds since 1970.",
    )


def _unknown(place: str, wanted: str, example: str, table: pa.Table) -> ConfigError:
    near = nearest(example, table.column_names)
    fix = f"Is it {near!r}? Rename that column." if near else "Add that column."
    present = ", ".join(table.column_names) or "none"
    return ConfigError(place, f"there is no column {wanted}; there is {present}", fix)
