"""Recorded events, as a pipeline's file reads them from a user's data.

A file that can be replayed has a function ``records(path)`` beside its pipeline. It yields
(key, value, event time in ms) of each record, oldest first: bytes, bytes (the event in the format
of its stream) and an integer. Where the pipeline has several streams, a fourth part is the topic of
a record that is not of the first one: ``(key, value, time, "purchases")``. It may have a function
``report(path)`` too, which returns named figures to compare with, such as those of trivial
baselines.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from numbers import Integral
from pathlib import Path
from types import ModuleType
from typing import NamedTuple, TypeAlias, cast

import numpy as np

from freshrank.actors.errors import ConfigError
from freshrank.actors.messages import Ints
from freshrank.deploy.pipelines.pipeline_file import line_of
from freshrank.feature_actors.streams.times.units import TimeUnit

_RECORD = (
    "Yield (key, value, event time in ms): bytes, bytes (the event as in its topic) and an int."
)
# 2001-09-09: from then on times since the epoch have ten digits in seconds, 13 in milliseconds.
_SINCE_S = 1_000_000_000

Records: TypeAlias = Callable[[Path], Iterable[object]]
"""The function ``records`` of a pipeline's file."""


@dataclass(frozen=True)
class History:
    """Recorded events, oldest first; columns of the same length."""

    keys: list[bytes]
    values: list[bytes]
    times_ms: Ints
    """int64[n]: event times in ms since the Unix epoch."""
    topics: list[str] | None = None
    """Of the streams that they belong to; None: all are of one, whichever that is."""

    def __len__(self) -> int:
        return len(self.keys)

    def places_of(self, topic: str) -> Ints:
        """int64[.]: the numbers of the records of a stream's topic.

        >>> times = np.array([5, 6, 9])
        >>> history = History([b"k"] * 3, [b"{}"] * 3, times, ["plays", "purchases", "plays"])
        >>> history.places_of("plays").tolist()
        [0, 2]
        """
        if self.topics is None:
            return np.arange(len(self))
        return np.flatnonzero([one == topic for one in self.topics]).astype(np.int64)


def read_history(module: ModuleType, file: str, data: Path, topics: Sequence[str]) -> History:
    """Read `data` with the function `records` of a pipeline's module.

    `file` names the module's file in errors; `topics` are those of the pipeline's streams, of which
    the first is that of records without one. Raises ConfigError when there is no such function or
    no such data, and for the first record of another form.
    """
    records = getattr(module, "records", None)
    if records is None:
        raise ConfigError(
            file,
            "it cannot read history",
            f"Write a function records(path). {_RECORD}",
        )
    if not data.exists():
        raise ConfigError(str(data), "there is no such file", "Give the path of the data.")
    keys, values, times, belong = [], [], [], []
    for number, record in enumerate(yielded(cast(Records, records), data)):
        place = f"{file}: record {number} of records"
        key, value, at_ms, topic = checked_record(record, place, topics)
        assert value is not None  # there are no tables
        keys.append(key)
        values.append(value)
        times.append(at_ms)
        belong.append(topic)
    if not keys:
        raise ConfigError(str(data), "there is no record in it", "Give data with some.")
    times_ms = np.array(times, dtype=np.int64)
    _check_unit(times_ms, f"{file}: records")
    return History(keys, values, times_ms, belong)


def _check_unit(times_ms: Ints, place: str) -> None:
    """Raise ConfigError where all times are of this century in another unit than milliseconds."""
    for unit in TimeUnit:
        least = _SINCE_S * unit.per_second
        of_unit = unit is not TimeUnit.MILLISECONDS and len(str(times_ms.max())) == len(str(least))
        if of_unit and times_ms.min() >= least:
            raise ConfigError(
                place,
                f"the third part of each, {times_ms[0]} in the first, is a time in {unit.word}",
                f"Yield milliseconds: {unit.conversion_to(TimeUnit.MILLISECONDS)}.",
            )


def yielded(records: Records, data: Path) -> Iterator[object]:
    """What the function `records` of a pipeline's file yields of `data`.

    Raises ConfigError, which names the line of the file, where the function fails, and where it
    gives nothing that can be gone through.
    """
    file = inspect.getfile(records)
    try:
        given = records(data)
        if not isinstance(given, Iterable):
            raise ConfigError(f"{file}: records", f"what it returns is {_kind(given)}", _RECORD)
        yield from given
    except ConfigError:
        raise
    except Exception as error:  # whatever the file's own code raises
        raise ConfigError(
            line_of(error, file),
            f"{type(error).__name__}: {error}",
            "Correct that line. `records` is called with the pathlib.Path of the data.",
        ) from error


class Recorded(NamedTuple):
    """A record, as a function ``records`` yields it."""

    key: bytes
    value: bytes | None
    """None: a tombstone."""
    time_ms: int
    topic: str


def checked_record(
    record: object, place: str, topics: Sequence[str], tables: Sequence[str] = ()
) -> Recorded:
    """Check the form of one record, which stands at `place`.

    `topics` are those of the streams, the first of them that of records without one; in `tables` a
    record may be a tombstone. Raises ConfigError that says what it is instead.
    """
    if not isinstance(record, tuple | list):
        raise ConfigError(place, f"it is {_kind(record)}", _RECORD)
    if len(record) not in (3, 4):
        raise ConfigError(place, f"it has {len(record)} parts", _RECORD)
    key, value, at_ms = record[:3]
    topic = record[3] if len(record) == 4 else topics[0]
    if topic not in (*topics, *tables):
        known = ", ".join(map(repr, (*topics, *tables)))
        raise ConfigError(
            place, f"its topic is {topic!r}", f"The streams of the pipeline have {known}."
        )
    for name, part in (("key", key), ("value", value)):
        tombstone = part is value and value is None and topic in tables
        if not isinstance(part, bytes) and not tombstone:
            raise ConfigError(place, f"its {name} is {_kind(part)}", _RECORD)
    # NumPy's integers are accepted too.
    if isinstance(at_ms, bool) or not isinstance(at_ms, Integral) or int(at_ms).bit_length() > 63:
        raise ConfigError(place, f"its event time is {at_ms!r}", _RECORD)
    return Recorded(key, value, int(at_ms), topic)


def _kind(value: object) -> str:
    return f"of type {type(value).__name__}"
