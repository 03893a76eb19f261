"""Learning that nobody tunes: the tables of scale, batch and drift, whole, with what they miss."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import product

from rich.console import Console

from freshrank.benchmarks.registry import BenchOptions
from freshrank.benchmarks.report import Figure, count_of, must_be_zero
from freshrank.benchmarks.robust import batch, drift, scale
from freshrank.benchmarks.robust.learners import LEARNERS, OPTIMIZERS
from freshrank.benchmarks.robust.streams import PARTITIONS, RANGE


def run(options: BenchOptions, console: Console) -> list[Figure]:
    """Compute and print the tables; `options.scale` shortens streams and leaves learners out."""
    found: list[Figure] = []
    thin = round(1 / options.scale)
    learners, optimizers = LEARNERS[::thin], tuple(OPTIMIZERS)[::thin]
    with console.status("scale") as status:
        scaled = scale.scale_table(int(scale.ROWS * options.scale), optimizers)
        console.print(scaled.table())
        found += _with_summary("scale", scaled.figures())
        played, rows = [], _rows(drift.ROWS, options.scale)
        for stream, learner in product(drift.SUITE, learners):
            status.update(f"{stream}: {learner.model}, {learner.optimizer}")
            played.append(drift.outcome_of(stream, learner, rows))
        console.print(drift.drift_table(played))
        found += _with_summary("drift", (one for line in played for one in line.figures()))
        lines, rows = [], _rows(batch.ROWS, options.scale)
        for learner in learners:
            status.update(f"batch: {learner.model}, {learner.optimizer}")
            lines.append(batch.batch_line(learner, rows))
        for table in batch.batch_tables(lines):
            console.print(table)
        found += _with_summary("batch", (one for line in lines for one in line.figures()))
    return found


def _rows(rows: int, scale: float) -> int:
    """A share of the rows that fills the ranges of all partitions."""
    together = RANGE * PARTITIONS
    return max(int(rows * scale) // together, 1) * together


def _with_summary(table: str, figures: Iterable[Figure]) -> Iterator[Figure]:
    """The figures, and how many of those that have a reach miss it."""
    found = list(figures)
    judged = [figure for figure in found if figure.reach is not None]
    yield from found
    yield count_of(f"{table}_figures", len(judged))
    yield must_be_zero(f"{table}_missed", sum(not figure.met for figure in judged))
