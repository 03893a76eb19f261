"""The records of a pipeline's history, from files and from what a user's function yields."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain, repeat
from pathlib import Path
from typing import TypeAlias

from freshrank.actors.clock import SystemClock
from freshrank.deploy.history.arrivals import Arrivals, HistoryTally, Numbered, TopicDecoder
from freshrank.deploy.history.file_values import place_in, read_values
from freshrank.deploy.history.files import HistoryFile, find_files
from freshrank.deploy.history.records import Records, yielded
from freshrank.deploy.history.sources import (
    BEGINNING,
    Chunk,
    MergedSources,
    SourcePlace,
    of_file,
    of_records,
)
from freshrank.deploy.pipelines.pipeline import Pipeline
from freshrank.feature_actors.streams.stream import Stream
from freshrank.feature_actors.streams.table import Table

History: TypeAlias = Sequence[str | Path | Iterable[object]]
"""Files and folders (`find_files`), and records as a function ``records`` yields them."""


@dataclass(frozen=True, slots=True)
class HistoryReader:
    """Reads a history once, in the order in which its records arrived."""

    pipeline: Pipeline
    history: History
    records: Records | None = None
    """Reads the files that are given without their topic."""

    def arrivals(
        self, entities: Collection[str], tally: HistoryTally, numbered: Numbered | None = None
    ) -> Iterator[Arrivals]:
        """Yield the records of the topics that the features of `entities` are made of.

        What is found is counted in `tally`; `numbered` gives numbers in place of the ids of
        entities. Raises ConfigError for what cannot be read.
        """
        yield from self.merged(entities, tally, numbered)

    def merged(
        self,
        entities: Collection[str],
        tally: HistoryTally,
        numbered: Numbered | None = None,
        begin: Sequence[SourcePlace] = (),
    ) -> MergedSources:
        """The same, from `begin` on: the places that such a reader's sources had (none: all)."""
        decoders = self._decoders(entities, numbered)
        tally.wanted = list(decoders)
        return MergedSources(self._sources(decoders, tally, begin))

    def check(self) -> None:
        """Read the first records of each file. Raises ConfigError for what cannot be read."""
        next(iter(self.arrivals(list(self.pipeline.plans), HistoryTally())), None)

    def files(self) -> list[Path]:
        """The files, and the folders that the pipeline's file reads. Raises ConfigError."""
        return [one.path for one in self._found()]

    def _decoders(
        self, entities: Iterable[str], numbered: Numbered | None
    ) -> dict[str, TopicDecoder]:
        """By topic of the entities' features."""
        known: list[Stream | Table] = [*self.pipeline.streams, *self.pipeline.tables]
        sources = {one.topic: one for one in known}
        readers: dict[str, dict[str, str]] = {}
        for name in entities:
            for rows in self.pipeline.plans[name].row_plans:
                # Numbers in place of ids are of the key that the records lie by.
                key = rows.entity.key if numbered is None else rows.source.log_key.key
                readers.setdefault(rows.source.topic, {})[name] = key
        return {
            topic: TopicDecoder(sources[topic], keys, numbered) for topic, keys in readers.items()
        }

    def _found(self) -> list[HistoryFile]:
        known: list[Stream | Table] = [*self.pipeline.streams, *self.pipeline.tables]
        paths = [one for one in self.history if isinstance(one, str | Path)]
        return find_files(paths, [one.topic for one in known], by_records=self.records is not None)

    def _sources(
        self,
        decoders: Mapping[str, TopicDecoder],
        tally: HistoryTally,
        begin: Sequence[SourcePlace],
    ) -> Iterator[tuple[SourcePlace, Iterator[Chunk]]]:
        """What each file, and each sequence of records, holds, and where to begin."""
        topics = [one.topic for one in self.pipeline.streams]
        tables = [one.topic for one in self.pipeline.tables]
        now_ms, places = SystemClock().now_ms(), chain(begin, repeat(BEGINNING))
        for file in self._found():
            if file.topic is None and self.records is not None:
                records, place = yielded(self.records, file.path), str(file.path)
                at = next(places)
                yield at, of_records(records, decoders, (topics, tables), place, tally, at)
            elif (decoder := decoders.get(file.topic or "")) is not None:
                values = partial(read_values, file.path, decoder.source)
                at = next(places)
                place_of = partial(place_in, file.path, decoder.source)
                yield at, of_file(values, decoder, place_of, tally, now_ms, at)
        for number, one in enumerate(self.history):
            if not isinstance(one, str | Path):
                place, at = f"history[{number}]", next(places)
                yield at, of_records(one, decoders, (topics, tables), place, tally, at)
