"""The sources of a history, and all that they hold as one log, in the order of its arrival."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

import msgspec
import numpy as np

from freshrank.actors.errors import BadRecord
from freshrank.actors.messages import Ints
from freshrank.actors.records import RejectedRecord
from freshrank.deploy.history.arrivals import Arrivals, Arrived, HistoryTally, TopicDecoder
from freshrank.deploy.history.file_values import CHUNK, FileChunk
from freshrank.deploy.history.records import Recorded, checked_record
from freshrank.feature_actors.streams.columns import joined
from freshrank.feature_actors.streams.lines.ready_columns import ReadyColumns
from freshrank.feature_actors.streams.table import Table


class SourcePlace(msgspec.Struct, frozen=True):
    """How far a source is read: where to go on."""

    chunks: int = 0
    """Chunks of `CHUNK` records that were given away whole."""
    number: int = 0
    """Records in these."""
    clock_ms: int = 0
    """The time of the latest of these."""
    taken: Mapping[str, int] | None = None
    """By topic: the good records of the next chunk that were given away. None: it is not read."""
    done: bool = False
    """Whether nothing is left."""


BEGINNING = SourcePlace()


class Chunk(NamedTuple):
    """Records that are read at once from a source, as far as they can be used."""

    begin: SourcePlace
    """Where they begin."""
    arrivals: Arrivals


def of_file(
    chunks: Callable[[int], Iterable[FileChunk]],
    decoder: TopicDecoder,
    place_of: Callable[[int], str],
    tally: HistoryTally,
    now_ms: int,
    begin: SourcePlace = BEGINNING,
) -> Iterator[Chunk]:
    """The records of a file, whose order is that of their arrival.

    `chunks` gives the chunks behind the first so many, `place_of` where a record stands. An event
    arrived at its time, or with the latest before it where that is later. An event later than
    `now_ms` by more than its stream allows is dead. The rows of a table were there from the
    beginning.
    """
    at, tallies = begin, _tallies(begin, tally)
    for read, counts in zip(chunks(begin.chunks), tallies, strict=False):
        count = len(read)
        arrived, own_ms, rejected = _decoded_chunk(read, decoder, at.number, now_ms)
        counts.records += count
        counts.count_dead(rejected, place_of)
        latest = _latest(at.clock_ms, own_ms)
        counts.out_of_order += int(np.count_nonzero(own_ms < latest))
        if len(latest):
            counts.topics.add(arrived.topic)
            yield Chunk(at, [replace(arrived, times_ms=latest)])
        at = _after(at, count, latest)


def _decoded_chunk(
    read: FileChunk, decoder: TopicDecoder, begin: int, now_ms: int
) -> tuple[Arrived, Ints, list[RejectedRecord]]:
    """The good records, their times as the events have them, and the others, numbered."""
    at_ms = 0 if isinstance(decoder.source, Table) else now_ms
    if isinstance(read, ReadyColumns):
        return decoder.decode([], read, np.full(len(read), at_ms, dtype=np.int64), begin)
    documents = [one for one in read if isinstance(one, bytes)]
    coded = decoder.from_json(documents, now_ms)
    stamps = np.full(len(coded), at_ms, dtype=np.int64)
    arrived, own_ms, rejected = decoder.decode(decoder.keys(coded), coded, stamps, 0)
    places = np.flatnonzero([isinstance(one, bytes) for one in read])
    topic = decoder.source.topic
    rejected = [replace(one, offset=int(places[one.offset])) for one in rejected]
    for place, one in enumerate(read):
        if isinstance(one, BadRecord):
            rejected.append(RejectedRecord(topic, 0, place, one.reason, None))
    rejected.sort(key=lambda record: record.offset)
    return arrived, own_ms, [replace(one, offset=begin + one.offset) for one in rejected]


def of_records(
    records: Iterable[object],
    decoders: Mapping[str, TopicDecoder],
    topics: tuple[Sequence[str], Sequence[str]],
    place: str,
    tally: HistoryTally,
    begin: SourcePlace = BEGINNING,
) -> Iterator[Chunk]:
    """The records that a function ``records`` yields, oldest first (`checked_record`).

    `topics` are those of the streams and of the tables. A record arrived at the time that it has,
    or with the latest before it. Raises ConfigError for one of another form.
    """
    at, given = begin, itertools.islice(records, begin.number, None)
    for counts in _tallies(begin, tally):
        chunk = list(itertools.islice(given, CHUNK))
        if not chunk:
            return
        checked = [
            checked_record(one, f"record {at.number + nth} of {place}", *topics)
            for nth, one in enumerate(chunk)
        ]
        times = np.array([one.time_ms for one in checked], dtype=np.int64)
        latest = _latest(at.clock_ms, times)
        counts.out_of_order += int(np.count_nonzero(times < latest))
        counts.records += len(checked)
        found = []
        for topic, decoder in decoders.items():
            mine = np.array([nth for nth, one in enumerate(checked) if one.topic == topic], int)
            if not len(mine):
                continue
            arrived, rejected = _decoded([checked[nth] for nth in mine], decoder, latest[mine])
            in_all = [replace(one, offset=at.number + int(mine[one.offset])) for one in rejected]
            counts.count_dead(in_all, lambda number: f"record {number + 1} of {place}")
            counts.topics.add(topic)
            if len(arrived):
                found.append(arrived)
        if found:
            yield Chunk(at, found)
        at = _after(at, len(checked), latest)


def _decoded(
    records: Sequence[Recorded], decoder: TopicDecoder, times_ms: Ints
) -> tuple[Arrived, list[RejectedRecord]]:
    """The good records of one topic, and the others."""
    keys: list[bytes | None] = [one.key for one in records]
    arrived, _, rejected = decoder.decode(keys, [one.value for one in records], times_ms, 0)
    return arrived, rejected


class MergedSources:
    """All that arrived, in order: each part is later than, or as late as, all parts before it.

    Of records of the same time those of an earlier source come first.
    """

    def __init__(self, sources: Iterable[tuple[SourcePlace, Iterator[Chunk]]]) -> None:
        self._heads = [_SourceHead(begin, chunks) for begin, chunks in sources]

    def __iter__(self) -> Iterator[Arrivals]:
        while heads := [head for head in self._heads if head.left]:
            limit = min(max(int(one.times_ms[-1]) for one in head.left) for head in heads)
            taken: dict[str, list[Arrived]] = {}
            for head in heads:
                for one in head.take(limit):
                    taken.setdefault(one.topic, []).append(one)
            yield [_joined(parts) for parts in taken.values()]

    @property
    def places(self) -> list[SourcePlace]:
        """How far each source has been given away."""
        return [head.place for head in self._heads]


class _SourceHead:
    """The records of a source that are read, and not given away."""

    def __init__(self, begin: SourcePlace, chunks: Iterator[Chunk]) -> None:
        self._chunks = chunks
        self._begin = begin
        self._taken: dict[str, int] = {}
        self.left: list[Arrived] = []
        if not begin.done:
            self._read()
            for topic, count in (begin.taken or {}).items():
                self._take(topic, count)

    @property
    def place(self) -> SourcePlace:
        if self._begin.done:
            return self._begin
        return msgspec.structs.replace(self._begin, taken=dict(self._taken))

    def take(self, until_ms: int) -> Iterator[Arrived]:
        """Give away what arrived until then; reads on where nothing is left."""
        for one in list(self.left):
            end = int(np.searchsorted(one.times_ms, until_ms, side="right"))
            if end:
                yield self._take(one.topic, end)
        if not self.left:
            self._read()

    def _take(self, topic: str, count: int) -> Arrived:
        (at,) = [nth for nth, one in enumerate(self.left) if one.topic == topic]
        whole = self.left[at]
        self._taken[topic] = self._taken.get(topic, 0) + count
        left = whole.between(count, len(whole))
        self.left[at : at + 1] = [left] if len(left) else []
        return whole.between(0, count)

    def _read(self) -> None:
        chunk = next(self._chunks, None)
        self._taken = {}
        if chunk is None:
            self._begin = SourcePlace(done=True)
        else:
            self._begin, self.left = chunk.begin, list(chunk.arrivals)


def _tallies(begin: SourcePlace, tally: HistoryTally) -> Iterator[HistoryTally]:
    """Where the chunks from `begin` on are counted: the first was counted before if it was read."""
    if begin.taken is not None:
        yield HistoryTally()
    yield from itertools.repeat(tally)


def _latest(clock_ms: int, times_ms: Ints) -> Ints:
    """int64[n]: the latest time up to each record, and `clock_ms`."""
    latest: Ints = np.maximum.accumulate(np.append(clock_ms, times_ms))[1:]
    return latest


def _after(begin: SourcePlace, records: int, latest_ms: Ints) -> SourcePlace:
    clock_ms = int(latest_ms[-1]) if len(latest_ms) else begin.clock_ms
    return SourcePlace(begin.chunks + 1, begin.number + records, clock_ms)


def _joined(parts: Sequence[Arrived]) -> Arrived:
    """Records of one topic from several sources, in the order of their times."""
    if len(parts) == 1:
        return parts[0]
    chain = itertools.chain.from_iterable
    times = np.concatenate([one.times_ms for one in parts])
    columns = [one.columns for one in parts if one.columns is not None]
    together = Arrived(
        parts[0].topic,
        list(chain(one.keys for one in parts)),
        list(chain(one.values for one in parts)),
        times,
        {name: np.concatenate([one.ids[name] for one in parts]) for name in parts[0].ids},
        joined(columns) if columns else None,
    )
    return together.take(np.argsort(times, kind="stable"))
