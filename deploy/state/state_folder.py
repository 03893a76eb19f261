"""The folder that keeps what a pipeline has learned: one run's at a time, and one broker's."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock, Timeout

from freshrank.actors.errors import ConfigError, SnapshotError
from freshrank.actors.snapshots.disk import Disk
from freshrank.actors.snapshots.file_format import made_for
from freshrank.deploy.config.settings import EMBEDDED, STARTED_HERE
from freshrank.deploy.pipelines.pipeline import Pipeline
from freshrank.deploy.state.inspect import newest_first
from freshrank.feature_actors.partition.snapshot import SNAPSHOT_KIND
from freshrank.learner import checkpoints

# What lies in it. The last is the log of Apache Kafka, where that is started here: records, which
# no start ever moves.
SHARDS, LEARNER, TENSORBOARD, KAFKA = "shards", "learner", "tensorboard", "kafka"

# All that means nothing without the offsets of its broker.
_LEARNED = (SHARDS, LEARNER, TENSORBOARD)

# The `kafka.bootstrap` that what was learned was learned from; and who holds the folder.
_MARKER, _LOCK = "broker", "lock"

# Bytes that have to fit in there at the start: the checkpoint of a small model, with which its
# learner begins.
_LEAST_BYTES = 1 << 20

# What a disk says that would take it if less lay there.
_FULL = (errno.ENOSPC, errno.EDQUOT)

# Of what was learned from a broker that nobody noted.
_UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class StateFolder:
    """The state of one pipeline, for a run on the broker of `bootstrap` (the setting)."""

    path: Path
    bootstrap: str

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """Hold the folder for this run, until the end of the block or of this process.

        Raises ConfigError when another run holds it (and names that run's process), and when the
        folder cannot be used.
        """
        file = self.path / _LOCK
        # A lock of the kernel, which ends with this process however that ends; programs that it
        # starts do not inherit it. Where the file system has no such lock, the folder is refused.
        lock = FileLock(file, blocking=False, fallback_to_soft=False)
        with self._usable():
            self.path.mkdir(parents=True, exist_ok=True)
            try:
                lock.acquire()
            except Timeout as error:
                raise ConfigError(
                    str(self.path),
                    f"another run keeps its state there ({file.read_text(errors='replace')})",
                    "Stop it, or set another `state` (FRESHRANK_STATE).",
                ) from error
        try:
            with self._usable():
                file.write_text(f"process {os.getpid()} of {os.uname().nodename}")
            yield
        finally:
            lock.release()

    def check(self, pipeline: Pipeline) -> None:
        """Raise ConfigError when a run of `pipeline` could not go on with what is there.

        Nor could it on a disk that is full.
        """
        self._check_room()
        before = self._learned_from()
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
                "Give what it was made with (--config, FRESHRANK_KAFKA__BOOTSTRAP), or another "
                "`state` (FRESHRANK_STATE).",
            )
        self._check_definitions(pipeline)

    def begin(self, say: Callable[[str], None]) -> None:
        """Note the broker; put aside what was learned from one that is gone with its topics.

        Offsets begin at 0 again there, so nothing can go on from it. To be called when nothing
        else can be refused any more. Raises ConfigError when the folder cannot be used.
        """
        with self._usable():
            if self._learned_from() == EMBEDDED:
                self._put_aside()
                say(
                    "starting anew: the state of the last run belongs to an embedded broker, which "
                    f"is gone with its topics (kept in {self._aside} until the next such start)"
                )
            _note(self.path, self.bootstrap)

    def _check_room(self) -> None:
        disk, draft = Disk(), self.path / ".room"
        with self._usable():
            try:
                # Random bytes: no file system can make them fewer.
                disk.write(draft, [os.urandom(_LEAST_BYTES)])
                disk.sync(draft)
            finally:
                disk.remove(draft)

    def _check_definitions(self, pipeline: Pipeline) -> None:
        """Raise ConfigError when what a start would take up was made for other definitions."""
        learner = checkpoints.fingerprint(pipeline.bound_model, pipeline.optimizer)
        for name, kind, fingerprint, what in (
            (SHARDS, SNAPSHOT_KIND, pipeline.fingerprint, "features, inputs or label"),
            (LEARNER, checkpoints.NAME, learner, "model or optimiser"),
        ):
            for files in newest_first(self.path / name):
                if _newest_made_for(kind, files) not in (None, fingerprint):
                    raise ConfigError(
                        str(self.path),
                        f"the definitions of pipeline {pipeline.name!r} ({what}) have changed "
                        "since this state was made",
                        "Change them back, give the pipeline another name, set another `state` "
                        f"(FRESHRANK_STATE), or remove the folders {SHARDS} and {LEARNER} in it "
                        "to learn anew from what the topics still hold.",
                    )

    @property
    def _aside(self) -> Path:
        return self.path.with_name(f"{self.path.name}.previous")

    def _learned_from(self) -> str | None:
        """The broker of what was learned; None where nothing was."""
        with self._usable():
            if not any((self.path / name).exists() for name in _LEARNED):
                return None
            return _noted(self.path)

    def _check_aside(self) -> None:
        """Raise ConfigError when what lies there is not what a start has put there."""
        with self._usable():
            if self._aside.exists() and (noted := _noted(self._aside)) != EMBEDDED:
                raise ConfigError(
                    str(self._aside),
                    "the state of an embedded broker would be put there, and there is another "
                    f"(kafka.bootstrap = {noted!r})",
                    "Give it another name, or remove it.",
                )

    def _put_aside(self) -> None:
        """Move what was learned: not the folder, which may be a mount, and holds the lock."""
        if self._aside.exists():
            shutil.rmtree(self._aside)
        self._aside.mkdir()
        _note(self._aside, EMBEDDED)  # first: whatever happens then, the next start knows it
        for name in _LEARNED:
            if (self.path / name).exists():
                shutil.move(self.path / name, self._aside / name)

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
    """What has to be the same: one broker may be reached at several addresses."""
    return bootstrap if bootstrap in STARTED_HERE else "given"


def _newest_made_for(kind: str, files: Sequence[Path]) -> str | None:
    """The definitions that the newest file of this kind was made for; None: no file tells."""
    for one in files:
        with contextlib.suppress(SnapshotError):  # a start passes it over, too, and says so
            return made_for(kind, one)
    return None


def _noted(folder: Path) -> str:
    marker = folder / _MARKER
    return marker.read_text(encoding="utf-8") if marker.exists() else _UNKNOWN


def _note(folder: Path, bootstrap: str) -> None:
    """Write it whole, and for good, before anything is learned."""
    disk, draft = Disk(), folder / f".{_MARKER}.draft"
    try:
        disk.write(draft, [bootstrap.encode()])
        disk.sync(draft)
        disk.rename(draft, folder / _MARKER)
    finally:
        disk.remove(draft)
    disk.sync(folder)
