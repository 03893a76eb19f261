"""What a backfill keeps on its way, so that the same command goes on from there after an end."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
import xxhash

from freshrank.actors.errors import ConfigError, DefinitionChanged, SnapshotError
from freshrank.actors.snapshots.disk import Disk
from freshrank.deploy.history.arrivals import HistoryTally
from freshrank.deploy.history.sources import SourcePlace
from freshrank.deploy.state.draft_state import KEPT
from freshrank.deploy.state.record_files.json_record import JsonRecord
from freshrank.deploy.wiring.backfill import Backfill
from freshrank.deploy.wiring.catalogue_rows import CatalogueRows


@dataclass(slots=True)
class BackfillProgress:
    """How far a history is read."""

    tally: HistoryTally = field(default_factory=HistoryTally)
    given: int = 0
    """Records that were applied, or rejected by what they are applied to."""
    reached_ms: int = 0
    """The time of the latest of these."""
    places: list[SourcePlace] = field(default_factory=list)
    """Of the sources of the history; none at its beginning."""
    items: CatalogueRows = field(default_factory=CatalogueRows)
    """What may be recommended, where the pipeline has a catalogue to recommend from."""


# It is written last: a folder without it is not whole.
_RECORD = JsonRecord("progress.json", BackfillProgress)


@dataclass(frozen=True, slots=True)
class KeptBackfill:
    """The state on the way, in folders of the draft `draft` that are named after its records."""

    draft: Path
    disk: Disk

    def save(self, made: Backfill, progress: BackfillProgress) -> None:
        """Keep the state at this `progress`, and none from before. Raises SnapshotError, OSError.

        Wherever the process ends, the state of before or this one is there.
        """
        folder = self.draft / KEPT / f"{progress.given:015d}"
        shutil.rmtree(folder, ignore_errors=True)  # of a process that was killed
        made.keep(folder, progress.reached_ms)
        _RECORD.write(folder, progress, self.disk)
        self.disk.sync(folder)
        for one in self._folders():
            if one != folder:
                shutil.rmtree(one)

    def resume(self, made: Backfill) -> BackfillProgress | None:
        """Let `made`, which is empty, become the state that is kept. None where there is none.

        Raises ConfigError where it cannot be read.
        """
        for folder in reversed(self._folders()):
            progress: BackfillProgress | None = _RECORD.read(folder)
            if progress is None:
                continue
            try:
                made.go_on(folder)
            except (SnapshotError, DefinitionChanged) as error:
                raise ConfigError(
                    str(folder),
                    str(error),
                    "Remove it, and the history is read from its beginning.",
                ) from error
            return progress
        return None

    def _folders(self) -> list[Path]:
        """Those of states, the oldest first."""
        return sorted((self.draft / KEPT).glob("*"))


def made_of(pipeline_text: str, files: list[Path], partitions: Mapping[str, int]) -> str:
    """Name what a state on the way is made of: with anything else, the history is read anew.

    A file counts as the same while its path, its size and the time of its last change are.
    """
    named = []
    for path in files:
        inside = sorted(path.rglob("*")) if path.is_dir() else [path]
        for one in inside:
            known = one.stat()
            named.append((str(one.absolute()), known.st_size, known.st_mtime_ns))
    document = msgspec.json.encode((pipeline_text, named, sorted(partitions.items())))
    return xxhash.xxh64_hexdigest(document)
