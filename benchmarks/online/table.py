"""The table of streams and learners: quality, mean ranks, seconds, lines of code."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from rich.table import Table

from freshrank.benchmarks.online import own_learners, peer_runs
from freshrank.benchmarks.online.quality import MEASURES, StreamQuality, ranks
from freshrank.benchmarks.online.stream_file import Kind
from freshrank.benchmarks.report import Better, Figure
from freshrank.benchmarks.robust.cells import shown

BEHIND = 0.005
"""How far the AUC of a linear model may be behind that of the best linear peer."""
_LINEAR = tuple(name for name in own_learners.LEARNERS if name.startswith("linear"))


class StreamLine(NamedTuple):
    """Of one stream."""

    name: str
    kind: Kind
    rows: int
    quality: Mapping[str, StreamQuality]
    """By learner."""
    seconds: Mapping[str, float]


class OnlineTable(NamedTuple):
    """Of all streams: each has the same learners."""

    lines: Sequence[StreamLine]

    def learners(self) -> list[str]:
        """Those of the product first."""
        return list(self.lines[0].quality)

    def peers(self) -> list[str]:
        """Those that are not of the product."""
        return [name for name in self.learners() if name not in own_learners.LEARNERS]

    def mean_rank(self, learner: str, among: Sequence[str], *, of_loss: bool = False) -> float:
        """The mean over streams of its rank; of the log loss over those that have one."""
        found = []
        for line in self.lines:
            if of_loss and line.kind == "number":
                continue
            each = [line.quality[name] for name in among]
            values = [one.log_loss if of_loss else one.value for one in each]
            higher = not of_loss and line.kind != "number"
            found.append(ranks(values, higher=higher)[among.index(learner)])
        return sum(found) / len(found) if found else math.nan

    def figures(self) -> Iterator[Figure]:
        """Each cell, what a linear model is behind, and the mean ranks beside the peers."""
        for line in self.lines:
            for name, (value, log_loss) in line.quality.items():
                better: Better = "lower" if line.kind == "number" else "higher"
                cell, unit = f"{line.name}_{name}", "label" if line.kind == "number" else "1"
                yield Figure(f"{MEASURES[line.kind]}_{cell}", value, unit, better, detail=True)
                if line.kind != "number":
                    yield Figure(f"log_loss_{cell}", log_loss, "nat", "lower", detail=True)
                yield Figure(f"seconds_{cell}", line.seconds[name], "s", "lower", detail=True)
        for line in self.lines:
            if line.kind == "binary":
                yield from behind(line)
        for own in own_learners.LEARNERS:
            among = [own, *self.peers()]
            for of_loss in (False, True):
                measure = "log_loss_rank" if of_loss else "rank"
                each = {name: self.mean_rank(name, among, of_loss=of_loss) for name in among}
                best = min(each[name] for name in self.peers())
                yield Figure(f"{measure}_{own}", each[own], "1", "lower", best)

    def tables(self) -> Iterator[Table]:
        """Of the quality, with the mean ranks; of the log loss; and of the seconds."""
        names = self.learners()
        figures = {figure.name: figure for figure in self.figures()}
        for of_loss in (False, True):
            title = "log loss" if of_loss else "AUC, accuracy or mean absolute error"
            table = _table(title, self.lines, "mean rank of all", "beside the peers")
            for name in names:
                each = [line.quality[name] for line in self.lines]
                cells = [_number(one.log_loss if of_loss else one.value) for one in each]
                rank = f"{self.mean_rank(name, names, of_loss=of_loss):.1f}"
                own = figures.get(f"{'log_loss_rank' if of_loss else 'rank'}_{name}")
                table.add_row(name, *cells, rank, shown(own, f"{own.value:.1f}") if own else "")
            yield table
        table, lines_of_code = _table("seconds", self.lines, "lines"), peer_runs.lines_of_code()
        for name in names:
            cells = [f"{line.seconds[name]:.1f}" for line in self.lines]
            table.add_row(name, *cells, str(lines_of_code.get(name, "")))
        yield table


def behind(line: StreamLine) -> Iterator[Figure]:
    """How far each linear model of the product is behind the best linear peer, by AUC."""
    best = max(line.quality[name].value for name in peer_runs.LINEAR)
    for name in _LINEAR:
        lost = max(0.0, best - line.quality[name].value)
        yield Figure(f"auc_behind_{line.name}_{name}", lost, "1", "lower", BEHIND)


def _table(title: str, lines: Sequence[StreamLine], *more: str) -> Table:
    heads = [f"{line.name}\n{MEASURES[line.kind]}, {line.rows}" for line in lines]
    return Table("learner", *heads, *more, title=title, title_justify="left")


def _number(value: float) -> str:
    return "" if math.isnan(value) else f"{value:.4f}" if abs(value) < 10 else f"{value:.2f}"
