"""The batch table: quality by examples of a step and number of shards.

The reach of a step holds for the difference from steps of 1 example by 1 shard, in either
direction, over the last half of the rows; each is scored before it is learned.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import product
from typing import NamedTuple

from rich.table import Table

from freshrank.benchmarks.report import Figure
from freshrank.benchmarks.robust.cells import shown, slug
from freshrank.benchmarks.robust.learners import MODELS, OPTIMIZERS, Learning
from freshrank.benchmarks.robust.learning_run import LearningRun, Setup
from freshrank.benchmarks.robust.streams import honest

ROWS = 20_480
STEPS = (1, 16, 64, 256, 1_024)
"""Examples of a step."""
SHARDS = (1, 2, 4)


class Reach(NamedTuple):
    """How far a step may be from steps of 1 example."""

    auc: float
    loss: float
    """As a share of the loss."""


REACH: Mapping[int, Reach] = {
    1: Reach(0.005, 0.02),
    16: Reach(0.005, 0.02),
    64: Reach(0.005, 0.02),
    256: Reach(0.01, 0.04),
    1_024: Reach(0.02, 0.08),
}


class BatchCell(NamedTuple):
    """The quality of a learner, by examples of a step and number of shards."""

    auc: float
    loss: float
    refused: int


class LearnerLine(NamedTuple):
    """A model and an optimiser: the cells by examples of a step and number of shards."""

    learner: Learning
    cells: Mapping[tuple[int, int], BatchCell]

    def figures(self) -> Iterator[Figure]:
        """Each cell, its distance from steps of 1 example by 1 shard, and the reach."""
        one = self.cells[1, 1]
        for (step, shards), cell in self.cells.items():
            name = slug("batch", *self.learner, f"{step}x{shards}")
            auc, loss = cell.auc - one.auc, cell.loss / one.loss - 1.0
            yield Figure(f"{name}_auc", cell.auc, "1", "higher", detail=True)
            yield Figure(f"{name}_loss", cell.loss, "nat", "lower", detail=True)
            reach = REACH[step]
            yield Figure(f"{name}_auc_off", abs(auc), "1", "lower", reach.auc, detail=True)
            yield Figure(f"{name}_loss_off", abs(loss), "1", "lower", reach.loss, detail=True)
            yield Figure(f"{name}_refused", cell.refused, "count", "lower", 0.0, detail=True)


def batch_line(learner: Learning, rows: int = ROWS) -> LearnerLine:
    """Learn `rows` rows in steps of each size, by each number of shards."""
    stream, half = honest(rows, 1), rows // 2
    spec, optimizer = MODELS[learner.model], OPTIMIZERS[learner.optimizer]
    cells = {}
    for step, shards in product(STEPS, SHARDS):
        played = LearningRun(Setup(spec, optimizer, step, shards)).play(stream)
        cells[step, shards] = BatchCell(played.auc(half), played.loss(half), played.refused)
    return LearnerLine(learner, cells)


def batch_tables(lines: Sequence[LearnerLine]) -> Iterator[Table]:
    """Two tables, of the AUC and of the loss: a line a learner and number of shards."""
    for measure in ("auc", "loss"):
        columns = map(str, STEPS)
        title = f"batch: {measure}, and its difference from steps of one example"
        table = Table("model", "optimiser", "shards", *columns, title=title, title_justify="left")
        for line in lines:
            figures = {figure.name: figure for figure in line.figures()}
            for shards in SHARDS:
                names = [slug("batch", *line.learner, f"{step}x{shards}") for step in STEPS]
                texts = [_text(figures, name, measure, line) for name in names]
                table.add_row(*line.learner, str(shards), *texts)
        yield table


def _text(figures: Mapping[str, Figure], name: str, measure: str, line: LearnerLine) -> str:
    """The value, and how far it is off: of the loss in per cent."""
    value = figures[f"{name}_{measure}"].value
    one = getattr(line.cells[1, 1], measure)
    off = f"{value - one:+.4f}" if measure == "auc" else f"{100.0 * (value / one - 1.0):+.1f} %"
    return shown(figures[f"{name}_{measure}_off"], f"{value:.4f} {off}")
