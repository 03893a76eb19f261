"""The steps of shard, learner and replica at which a simulated process can crash.

The parts are the real ones and know nothing of it: while `instrumented`, their functions in `STEPS`
are wrapped (`process.as_step`). Files are written by a `StepwiseDisk`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

from freshrank.actors.parameters.delta_log import DeltaLog
from freshrank.actors.snapshots.disk import Disk, Piece
from freshrank.benchmarks.crashes.process import as_step, replaced, step_called
from freshrank.deploy.wiring.lock_step import BatchSource
from freshrank.feature_actors.connectors.in_memory.log import MemorySource
from freshrank.feature_actors.connectors.in_memory.sink import MemorySink
from freshrank.feature_actors.connectors.in_memory.stores import MemoryStore
from freshrank.feature_actors.labels.joiner import Joiner
from freshrank.feature_actors.partition.example_queue import ExampleQueue
from freshrank.feature_actors.state.entity_table import EntityTable
from freshrank.feature_actors.streams.codec import Codec
from freshrank.learner import checkpoints
from freshrank.learner.actor import LearnerActor
from freshrank.learner.core import Learner
from freshrank.learner.gradients.batch import BatchDifferentiator
from freshrank.learner.guard.bounds import GradientSizes
from freshrank.learner.guard.rollback import RollbackLog
from freshrank.learner.optimizers.adagrad import Adagrad
from freshrank.learner.parameters.weights import ModelWeights


class InstrumentedStep(NamedTuple):
    """A function of a class or module, and the name of the step that it is."""

    owner: type | ModuleType
    function: str
    name: str


STEPS = (
    InstrumentedStep(MemorySource, "start", "seek"),
    InstrumentedStep(MemorySource, "poll", "poll"),
    InstrumentedStep(BatchSource, "poll", "poll"),
    InstrumentedStep(Codec, "decode", "decode"),
    InstrumentedStep(EntityTable, "apply", "update"),
    InstrumentedStep(Joiner, "happen", "join"),
    InstrumentedStep(Joiner, "show", "join"),
    InstrumentedStep(ExampleQueue, "extend", "keep"),
    InstrumentedStep(MemoryStore, "claim", "claim"),
    InstrumentedStep(MemoryStore, "write", "write to Redis"),
    InstrumentedStep(MemoryStore, "remove", "remove from Redis"),
    InstrumentedStep(MemorySink, "reject", "reject"),
    InstrumentedStep(BatchDifferentiator, "gradient", "differentiate"),
    InstrumentedStep(ExampleQueue, "acknowledge", "acknowledge"),
    InstrumentedStep(Learner, "offer", "aggregate"),
    InstrumentedStep(Learner, "step", "learn"),
    InstrumentedStep(Adagrad, "update", "step"),
    InstrumentedStep(GradientSizes, "error", "guard gradient"),
    InstrumentedStep(RollbackLog, "check_loss", "guard loss"),
    InstrumentedStep(RollbackLog, "weights_error", "guard weights"),
    InstrumentedStep(DeltaLog, "append", "publish"),
    InstrumentedStep(checkpoints, "restore", "restore"),
    InstrumentedStep(checkpoints, "take", "checkpoint"),
    InstrumentedStep(LearnerActor, "save", "durable"),
    InstrumentedStep(ModelWeights, "apply", "swap"),
)
"""All steps but those of `LearnerProcessHandle` (calls of the learner) and `StepwiseDisk`."""


@contextmanager
def instrumented() -> Iterator[None]:
    """Wrap the functions in `STEPS` within the block."""
    wrapped = [(owner, name, as_step(vars(owner)[name], step)) for owner, name, step in STEPS]
    with replaced(wrapped):
        yield


class StepwiseDisk(Disk):
    """A disk whose operations are steps: a process can crash in the middle of a file.

    Machine and disk survive the crash, with what was written so far.
    """

    def write(self, path: Path, pieces: Iterable[Piece]) -> int:
        """See Disk; a crash meanwhile leaves half a file."""
        whole = b"".join(pieces)
        self._write(path, [whole[: len(whole) // 2]])
        written: int = self._rewrite(path, [whole])
        return written

    @step_called("write half")
    def _write(self, path: Path, pieces: Iterable[Piece]) -> int:
        return super().write(path, pieces)

    @step_called("write")
    def _rewrite(self, path: Path, pieces: Iterable[Piece]) -> int:
        return super().write(path, pieces)

    @step_called("fsync")
    def sync(self, path: Path) -> None:
        """Do nothing: the machine does not lose power here, so written data survives."""

    @step_called("rename")
    def rename(self, old: Path, new: Path) -> None:
        """See Disk."""
        super().rename(old, new)

    @step_called("prune")
    def remove(self, path: Path) -> None:
        """See Disk."""
        super().remove(path)
