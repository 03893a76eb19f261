"""`freshrank backfill`: fill an empty state folder from files; a run goes on from there."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from rich.console import Console
from rich.status import Status

from freshrank.actors.clock import SystemClock
from freshrank.actors.errors import ConfigError, Unavailable
from freshrank.deploy.commands.history.kept_backfill import (
    BackfillProgress,
    KeptBackfill,
    made_of,
)
from freshrank.deploy.commands.history.progress import say, shown
from freshrank.deploy.config.settings import EMBEDDED, Settings
from freshrank.deploy.history.arrivals import Arrivals
from freshrank.deploy.history.entity_rows import as_of
from freshrank.deploy.history.reader import HistoryReader
from freshrank.deploy.pipelines.pipeline import Pipeline
from freshrank.deploy.pipelines.pipeline_file import PipelineFile
from freshrank.deploy.servers.external import (
    external_servers,
    prepare_topics,
    source_topics,
    topic_identities,
)
from freshrank.deploy.state.draft_state import check_empty, draft_of, put_in_place
from freshrank.deploy.state.state_folder import StateFolder
from freshrank.deploy.wiring.backfill import Backfill, Target
from freshrank.deploy.wiring.catalogue_rows import WrittenItems, write_items
from freshrank.feature_actors.connectors.kafka.client import KafkaAccess
from freshrank.feature_actors.connectors.kafka.sink import KafkaSink
from freshrank.feature_actors.connectors.kafka.source import KafkaSource
from freshrank.feature_actors.connectors.kafka.topics import next_offsets
from freshrank.feature_actors.streams.table import Table

HISTORY, END, BEGINNING = "history", "end", "beginning"
"""Where a run may go on, besides a time."""

KEPT_EVERY = 2_000_000
"""Records between two states that are kept on the way: of a million users, writing one takes two
seconds of the twenty or more that so many records take."""


@dataclass(frozen=True, slots=True)
class BackfillRequest:
    """What the command is asked for."""

    file: Path
    """Of the pipeline."""
    history: Sequence[str]
    begin: str = HISTORY
    """Where the run that goes on begins to read: one of the names here, or a time."""


def run_backfill(request: BackfillRequest, settings: Settings) -> None:
    """Run the command. Raises ConfigError for what cannot be used, and Unavailable."""
    if settings.kafka.bootstrap == EMBEDDED:
        raise ConfigError(
            "kafka.bootstrap",
            "the embedded broker forgets its topics when it stops, so no run can go on from a "
            "state that is made with it",
            "Give --kafka apache, or the address of a broker.",
        )
    begin_ms = _begin_ms(request.begin)
    pipeline_file = PipelineFile.read(request.file)
    pipeline, module = pipeline_file.load(), pipeline_file.load_module()
    reader = HistoryReader(pipeline, request.history, getattr(module, "records", None))
    folder = StateFolder(settings.state_folder(pipeline.name), settings.kafka.bootstrap)
    console = Console(stderr=True)
    with folder.held():
        check_empty(folder)
        reader.check()  # before a broker starts, which takes seconds
        servers = external_servers(pipeline, settings, folder.path, console.print)
        with servers.broker as broker, console.status("reading") as status:
            kafka = KafkaAccess(broker.bootstrap, broker.security)
            work = _Work(pipeline, settings, folder, kafka, console, status)
            work.do(pipeline_file.text, reader, begin_ms)


def _begin_ms(text: str) -> int | None:
    """The time that an option names; -1 for the end of the history, None for those of topics."""
    named = {HISTORY: -1, END: None, BEGINNING: 0}
    return named[text] if text in named else as_of(text, SystemClock().now_ms(), "--from")


@dataclass(slots=True)
class _Work:
    """A backfill while its folder is held and its broker is up."""

    pipeline: Pipeline
    settings: Settings
    folder: StateFolder
    kafka: KafkaAccess
    console: Console
    status: Status
    progress: BackfillProgress = field(default_factory=BackfillProgress)
    kept: int = 0
    """Records of the state that is kept (`KeptBackfill`)."""

    def do(self, pipeline_text: str, reader: HistoryReader, begin_ms: int | None) -> None:
        """Read the history, write a draft of the state, and put it in place.

        Where that fails after some records were kept, it says how to go on.
        """
        try:
            self._do(pipeline_text, reader, begin_ms)
        except BaseException as error:  # an interrupt from the keyboard, too
            if self.kept:
                self.console.print(
                    f"the state after {self.kept:,} records is kept: the same command goes on from "
                    "there, while the pipeline and the files are the same",
                    soft_wrap=True,
                )
            elif isinstance(error, KeyboardInterrupt):
                self.console.print(
                    f"interrupted before {KEPT_EVERY:,} records, after which a state is kept: the "
                    "same command begins anew",
                    soft_wrap=True,
                )
            raise

    def _do(self, pipeline_text: str, reader: HistoryReader, begin_ms: int | None) -> None:
        counts = asyncio.run(prepare_topics(self.pipeline, self.kafka, self.settings))
        topics = asyncio.run(topic_identities(self.pipeline, self.kafka))
        own = self.pipeline.plan.entity.name
        partitions = {own: counts.stream, **counts.candidates}
        of = made_of(pipeline_text, reader.files(), partitions)
        with draft_of(self.folder, of) as draft:
            origins = draft.begin(self.console.print, topics, self.pipeline)
            target = Target(partitions, origins.copies)
            made = Backfill(self.pipeline, self.settings, target)
            kept = KeptBackfill(draft.path, draft.disk)
            self._resume(made, kept)
            began, before = time.monotonic(), self.progress.given
            self._play(made, reader, kept)
            seconds = time.monotonic() - began
            at_ms = self.progress.reached_ms if begin_ms == -1 else begin_ms
            offsets, ends = self._offsets(at_ms), self._offsets(None)
            self.status.update("writing the state")
            made.move_to(offsets, ends, self.progress.reached_ms)
            made.save(draft.path, offsets)
            remarks, written = self._write_items(partitions)
            put_in_place(draft, self.folder)
        tally = self.progress.tally
        rate = (self.progress.given - before) / max(seconds, 1e-9)
        say(
            self.console,
            [*tally.remarks(), *remarks],
            f"{self.folder.path}: the state of {made.entities} entities and {made.learned} learned "
            f"examples, from {tally.records:,} records ({rate:,.0f}/s). {written}A run goes on "
            f"with what its topics got {_since(at_ms)}.",
        )

    def _resume(self, made: Backfill, kept: KeptBackfill) -> None:
        found = kept.resume(made)
        if found is not None:
            self.progress, self.kept = found, found.given
            self.console.print(
                f"going on after {self.kept:,} records, where a backfill was interrupted"
            )

    def _play(self, made: Backfill, reader: HistoryReader, kept: KeptBackfill) -> None:
        show, progress = shown(self.status), self.progress
        entities = list(self.pipeline.plans)
        merged = reader.merged(entities, progress.tally, made.numbered, progress.places)
        for arrivals in merged:
            made.take(arrivals)
            self._take_items(arrivals)
            progress.reached_ms = max(int(one.times_ms[-1]) for one in arrivals)
            progress.given += sum(map(len, arrivals))
            show(progress.tally, progress.reached_ms)
            # At places that follow from the history alone: so a state that was resumed has
            # learned in the same steps as one that was not.
            if progress.given - self.kept >= KEPT_EVERY:
                progress.places = merged.places
                kept.save(made, progress)
                self.kept = progress.given
        progress.tally.check()

    @property
    def _catalogue(self) -> Table | None:
        """What replicas read items from; None where they recommend none."""
        retrieval = self.pipeline.retrieval
        return None if retrieval is None else retrieval.items.table

    def _take_items(self, arrivals: Arrivals) -> None:
        for arrived in arrivals:
            if self._catalogue is not None and arrived.topic == self._catalogue.topic:
                self.progress.items.take(arrived, self.settings.serve.most_items)

    def _write_items(self, partitions: Mapping[str, int]) -> tuple[list[str], str]:
        """Write the catalogue's rows to its topic; gives remarks, and what was done."""
        rows, table = self.progress.items, self._catalogue
        if table is None or not rows.values:
            return [], ""
        self.status.update(f"writing {len(rows.values):,} items to {table.topic}")
        try:
            written = asyncio.run(self._written(table, partitions[table.key.name]))
        except Unavailable as error:  # the state is whole all the same
            remark = (
                f"the rows of {len(rows.values):,} items are not known to be written to topic "
                f"{table.topic!r} ({error.reason}), whose items /v1/recommend finds: write them "
                "to it"
            )
            return [remark, *rows.remarks(table.topic)], ""
        return [*rows.remarks(table.topic), *written.remarks()], f"{written} "

    async def _written(self, table: Table, partitions: int) -> WrittenItems:
        source = KafkaSource(self.kafka)
        sink = KafkaSink(self.kafka, {table.topic: table.placed_by})
        await sink.start()
        try:
            return await write_items(table, self.progress.items.values, partitions, source, sink)
        finally:
            await sink.stop()

    def _offsets(self, at_ms: int | None) -> Mapping[str, Sequence[int]]:
        return asyncio.run(next_offsets(self.kafka, source_topics(self.pipeline), at_ms))


def _since(at_ms: int | None) -> str:
    if at_ms is None:
        return "after this"
    if not at_ms:
        return "from their beginning on"
    return f"from {datetime.fromtimestamp(at_ms / 1000, UTC).isoformat(' ', 'milliseconds')} on"
