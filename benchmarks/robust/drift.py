"""The drift suite: worlds that change and rows that are poisoned, and what became of each row."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from rich.table import Table

from freshrank.actors.messages import Bools
from freshrank.benchmarks.report import Figure
from freshrank.benchmarks.robust.cells import shown, slug
from freshrank.benchmarks.robust.learners import MODELS, OPTIMIZERS, Learning
from freshrank.benchmarks.robust.learning_run import LearningRun, Setup
from freshrank.benchmarks.robust.streams import (
    RANGE,
    StreamRows,
    flipped,
    honest,
    label_noise,
    with_dense,
    with_inputs_of_others,
)

ROWS = 312 * RANGE
"""Rows of each part of a stream."""
BURST = 16 * RANGE
"""Rows of a burst of poison."""


def _burst(poison: Callable[[StreamRows], StreamRows]) -> Callable[[int], StreamRows]:
    """Poisoned rows between honest ones."""
    return lambda rows: honest(rows, 1) + poison(honest(BURST, 2)) + honest(rows, 3)


def _partition(poison: Callable[[StreamRows, Bools], StreamRows]) -> Callable[[int], StreamRows]:
    """A partition that is poisoned between honest rows."""

    def made(rows: int) -> StreamRows:
        middle = honest(rows, 2)
        return honest(rows, 1) + poison(middle, middle.partitions() == 2) + honest(rows, 3)

    return made


CHANGES: Mapping[str, Callable[[int], StreamRows]] = {
    "no change": lambda rows: honest(2 * rows, 1),
    "label rate 1 % to 30 % and back": lambda rows: (
        honest(rows, 1, rate=0.01) + honest(rows, 2) + honest(rows, 3, rate=0.01)
    ),
    "sign flip": lambda rows: honest(rows, 1) + honest(rows, 2, flip=True),
    "covariate shift": lambda rows: honest(rows, 1) + honest(rows, 2, moved=3.0),
}
"""Honest streams: all rows are to be learned."""
BURSTS: Mapping[str, Callable[[int], StreamRows]] = {
    "label noise": _burst(label_noise),
    "flipped labels": _burst(flipped),
    "NaN inputs": _burst(lambda rows: with_dense(rows, np.nan)),
    "exploded inputs": _burst(lambda rows: with_dense(rows, 0.0, 1e6)),
}
"""Streams with a burst of poison that is shorter than a trial."""
PARTITIONED: Mapping[str, Callable[[int], StreamRows]] = {
    "poisoned partition": _partition(flipped),
    "one shard gone wrong": _partition(with_inputs_of_others),
}
"""Streams of which a partition is poisoned for long: its labels, or the inputs that it makes."""
SUITE = {**CHANGES, **BURSTS, **PARTITIONED}


class DriftResult(NamedTuple):
    """What one learner made of one stream."""

    stream: str
    learner: Learning
    learned: int
    """Rows that are in the weights in the end, and of these:"""
    later: int
    """rows that the guard had held back first."""
    lost: int
    """Honest rows that were refused."""
    poison: int
    poison_lost: int
    auc: float
    """Over the last half part, as are the losses."""
    loss: float
    base_loss: float
    """Of the best constant prediction."""

    def figures(self) -> Iterator[Figure]:
        """No honest row is lost, and the learner is not worse than a constant."""
        name = slug("drift", self.stream, *self.learner)
        yield Figure(f"{name}_learned", self.learned, "count", "higher", detail=True)
        yield Figure(f"{name}_learned_later", self.later, "count", "higher", detail=True)
        yield Figure(f"{name}_lost", self.lost, "count", "lower", 0.0, detail=True)
        yield Figure(f"{name}_poison_lost", self.poison_lost, "count", "higher", detail=True)
        yield Figure(f"{name}_auc", self.auc, "1", "higher", detail=True)
        yield Figure(f"{name}_loss", self.loss, "nat", "lower", self.base_loss, detail=True)


def outcome_of(stream: str, learner: Learning, rows: int = ROWS) -> DriftResult:
    """Play a stream of the suite with `rows` rows a part (a multiple of `RANGE`)."""
    run = LearningRun(Setup(MODELS[learner.model], OPTIMIZERS[learner.optimizer]))
    played = run.play(SUITE[stream](rows))
    end = len(played.scores) - rows // 2
    poisoned = played.rows.poisoned
    return DriftResult(
        stream,
        learner,
        played.learned,
        played.learner.metrics.learned_later,
        int((played.lost & ~poisoned).sum()),
        int(poisoned.sum()),
        int((played.lost & poisoned).sum()),
        played.auc(end),
        played.loss(end),
        played.base_loss(end),
    )


def drift_table(found: Sequence[DriftResult]) -> Table:
    """A line for each stream and learner."""
    columns = (
        "stream", "model", "optimiser", "learned", "of these later", "honest lost",
        "poison lost", "AUC", "loss", "base rate's",
    )  # fmt: skip
    table = Table(*columns, title="drift: what became of each row", title_justify="left")
    for one in found:
        _, _, honest_lost, _, _, loss = one.figures()
        poison = f"{one.poison_lost} of {one.poison}" if one.poison else ""
        table.add_row(
            one.stream, *one.learner, f"{one.learned}", f"{one.later}",
            shown(honest_lost, f"{one.lost}"), poison,
            f"{one.auc:.3f}", shown(loss), f"{one.base_loss:.3f}",
        )  # fmt: skip
    return table
