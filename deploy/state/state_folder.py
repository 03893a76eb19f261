"""The state folder of a pipeline: used by one run at a time, and made with one broker."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from filelock import FileLock, Timeout

from freshrank.actors.errors import ConfigError
from freshrank.actors.records import TopicIdentity
from freshrank.actors.snapshots.disk import Disk
from freshrank.actors.snapshots.private_files import (
    open_private,
    tighten,
    write_private,
)
from freshrank.deploy.config.settings import EMBEDDED, STARTED_HERE
from freshrank.deploy.pipelines.pipeline import Pipeline
from freshrank.deploy.state.definitions.kept_definitions import (
    KeptDefinitions,
    say_what_they_are_made_of,
)
from freshrank.deploy.state.definitions.refusals import check_definitions
from freshrank.deploy.state.definitions.start_changes import told_at_start
from freshrank.deploy.state.definitions.undeclared import Undeclared, told, undeclared
from freshrank.deploy.state.folder_lock import LOCK, holder, holder_text
from freshrank.deploy.state.folders import KAFKA, LEARNED, LEARNER, PINNED, SHARDS
from freshrank.deploy.state.inspect import check_checkpoints
from freshrank.deploy.state.record_files import fields_record, topics_record, update_record
from freshrank.deploy.state.records import RECORDS, write_records
from freshrank.deploy.state.state_id import Origins

# The file with the `kafka.bootstrap` that the state was made with.
MARKER = "broker"

# The file that a start writes to see whether the disk takes anything.
_ROOM = ".room"

# The file that is there while a state that was made elsewhere is put into the folder.
FILLING = ".filling"

# Whatever a state folder holds. A folder with anything else in it has another use too.
_OURS = {
    *(*LEARNED, PINNED, KAFKA, MARKER, LOCK, _ROOM, FILLING, f".{MARKER}.draft"),
    *(name for record in (*RECORDS, update_record.RECORD) for name in record.names),
}

# Bytes of free space that a start requires: those of the checkpoint of a small model, which the
# learner writes first.
_LEAST_BYTES = 1 << 20

# Errors that free space would mend.
_FULL = (errno.ENOSPC, errno.EDQUOT)

# In place of a broker that is not known.
_UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class StateFolder:
    """The state of one pipeline, for a run on the broker of `bootstrap` (the setting)."""

    path: Path
    bootstrap: str
    disk: Disk = field(default_factory=Disk, repr=False)
    """Does what is done to files."""

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """Hold the folder for this run, until the end of the block or of this process.

        Raises ConfigError when another run holds it (and names that run's process), and when the
        folder cannot be used.
        """
        file = self.path / LOCK
        # A lock of the kernel, which ends with this process however that ends; programs that it
        # starts do not inherit it. Where the file system has no such lock, the folder is refused.
        lock = FileLock(file, mode=0o600, blocking=False, fallback_to_soft=False)
        with self._usable():
            self._make_private()
            os.close(open_private(file, os.O_WRONLY))  # refuses a symbolic link by name
            try:
                lock.acquire()
            except Timeout as error:
                raise self._taken(file.read_text(errors="replace")) from error
        try:
            with self._usable():
                write_private(file, holder_text(os.getpid()))
            yield
        finally:
            lock.release()

    def check_free(self) -> None:
        """Raise ConfigError while another run holds the folder."""
        with self._usable():
            held = holder(self.path)
        if held is not None:
            raise self._taken(held)

    def _taken(self, held: str) -> ConfigError:
        return ConfigError(
            str(self.path),
            f"another run keeps its state there ({held})",
            "Stop it, or set another `state` (FRESHRANK_STATE).",
        )

    def check(self, pipeline: Pipeline) -> None:
        """Raise ConfigError when no run of `pipeline` could go on from it, or the disk is full."""
        self._check_room()
        if (self.path / FILLING).exists():
            raise ConfigError(
                str(self.path),
                "a backfill ended before all of its state was there",
                "Run it again: it begins anew.",
            )
        before = self.made_with()
        if before is None:
            return
        if before == EMBEDDED:
            self._check_aside()
            return
        if _kind(before) != _kind(self.bootstrap):
            raise ConfigError(
                str(self.path),
                f"this state was made with kafka.bootstrap = {before!r}, and now it is "
                f"{self.bootstrap!r}",
                f"Give what it was made with ({_given(before)}), or another `state` "
                "(FRESHRANK_STATE).",
            )
        check_definitions(self.path, pipeline)
        with self._usable():
            tell_types = say_what_they_are_made_of(self.path)
            fields_record.check_fields(self.path, pipeline, tell_types=tell_types)
            check_checkpoints(self.path / LEARNER)
        self.to_remove(pipeline)

    def check_topics(self, topics: Mapping[str, TopicIdentity]) -> None:
        """Raise ConfigError when the state was made of other topics than these."""
        if self.made_with() not in (None, EMBEDDED):
            with self._usable():
                topics_record.check_topics(self.path, topics)

    def begin(
        self,
        log: Callable[[str], None],
        topics: Mapping[str, TopicIdentity],
        pipeline: Pipeline,
    ) -> Origins:
        """Record the broker, topics and definitions; move an embedded broker's state aside.

        Removes what the pipeline declares no more. Returns the origins of the state: others where
        it begins anew.

        That broker has ended with its topics, and offsets begin at 0 again: no run can continue
        from its state. To be called when no later check can refuse the start. Raises ConfigError
        when the folder cannot be used.
        """
        with self._usable():
            if self.made_with() == EMBEDDED:
                self._put_aside()
                log(
                    "starting from nothing: the state of the last run belongs to an embedded "
                    "broker, which has ended with its topics (kept in "
                    f"{self._aside} until the next such start)"
                )
            for line in told_at_start(KeptDefinitions.read(self.path, pipeline), pipeline):
                log(line)
            self._record_broker(self.path, self.bootstrap)
            # Without snapshots, the first event is read again: no row of before is an answer then.
            anew = not (self.path / SHARDS).exists()
            origins = write_records(self.path, topics, pipeline, self.disk, anew=anew)
            # Last: wherever that ends, the definitions of before find none of their rows again.
            self._remove(log, pipeline)
            return origins

    def to_remove(self, pipeline: Pipeline) -> list[Undeclared]:
        """What a start of `pipeline` removes, as nothing reads it any more.

        Raises ConfigError where something is there that a start may not remove.
        """
        if self.made_with() in (None, EMBEDDED):  # that is moved as it is
            return []
        with self._usable():
            return undeclared(self.path, pipeline)

    def _remove(self, log: Callable[[str], None], pipeline: Pipeline) -> None:
        found = self.to_remove(pipeline)
        if found:
            log(f"removing what is declared no more: {told(found)}")
        for one in found:
            one.remove(self.disk)

    def _make_private(self) -> None:
        """Make the folder for this user alone; one with other things in it stays as it is."""
        if not self.path.exists() or all(found.name in _OURS for found in self.path.iterdir()):
            self.disk.make_folder(self.path)
        for name in (*LEARNED, PINNED, KAFKA):
            if (self.path / name).is_dir():
                tighten(self.path / name)

    def _check_room(self) -> None:
        disk, draft = self.disk, self.path / _ROOM
        with self._usable():
            try:
                # Random bytes: no file system can compress them.
                disk.write(draft, [os.urandom(_LEAST_BYTES)])
                disk.sync(draft)
            finally:
                disk.remove(draft)

    @property
    def _aside(self) -> Path:
        return self.path.with_name(f"{self.path.name}.previous")

    def made_with(self) -> str | None:
        """Return the broker that the state was made with; None where there is no state."""
        with self._usable():
            if not any((self.path / name).exists() for name in LEARNED):
                return None
            return _recorded_broker(self.path)

    def _check_aside(self) -> None:
        """Raise ConfigError when the folder for such state holds anything else."""
        with self._usable():
            if self._aside.exists() and (recorded := _recorded_broker(self._aside)) != EMBEDDED:
                raise ConfigError(
                    str(self._aside),
                    "the state of an embedded broker would be put there, and there is another "
                    f"(kafka.bootstrap = {recorded!r})",
                    "Give it another name, or remove it.",
                )

    def _put_aside(self) -> None:
        """Move the state: not the folder itself, which may be a mount, and holds the lock."""
        if self._aside.exists():
            shutil.rmtree(self._aside)
        self.disk.make_folder(self._aside)
        self._record_broker(self._aside, EMBEDDED)  # first: the next start knows it after a crash
        for name in LEARNED:
            if (self.path / name).exists():
                shutil.move(self.path / name, self._aside / name)

    def _record_broker(self, folder: Path, bootstrap: str) -> None:
        """Write the broker, durably, before anything is learned."""
        self.disk.replace(folder / f".{MARKER}.draft", folder / MARKER, [bootstrap.encode()])

    @contextlib.contextmanager
    def _usable(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise ConfigError(
                str(self.path),
                f"the state cannot be kept there: {error.strerror}",
                "Make space there, or give another folder (FRESHRANK_STATE)."
                if error.errno in _FULL
                else "Give a folder that can be written (FRESHRANK_STATE).",
            ) from error


def _kind(bootstrap: str) -> str:
    """Return what may not change: a given broker may have several addresses."""
    return bootstrap if bootstrap in STARTED_HERE else "given"


def _given(bootstrap: str) -> str:
    """How a broker is given."""
    known = "" if bootstrap == _UNKNOWN else f"--kafka {bootstrap}, "
    return f"{known}--config, FRESHRANK_KAFKA__BOOTSTRAP"


def _recorded_broker(folder: Path) -> str:
    marker = folder / MARKER
    return marker.read_text(encoding="utf-8") if marker.exists() else _UNKNOWN
