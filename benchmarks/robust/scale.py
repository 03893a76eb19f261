"""The scale table: one number, in five units, decides the label; replays of a user's pipeline.

The label is 1 with the probability ``sigmoid(2 x)`` of a normal ``x``; what the events carry is
``x``, or ``x`` in another unit and from another origin.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import msgspec
import numpy as np
from rich.table import Table

from freshrank import (
    Entity,
    FeatureView,
    Labelled,
    LogisticRegression,
    Pipeline,
    Stream,
    TimeSince,
    col,
)
from freshrank.actors.messages import Bools, Doubles
from freshrank.benchmarks.report import Figure
from freshrank.benchmarks.robust.cells import shown, slug
from freshrank.benchmarks.robust.learners import OPTIMIZERS
from freshrank.deploy.history.records import History
from freshrank.deploy.wiring.replay import replay
from freshrank.learner.evaluation.metrics import exact_auc
from freshrank.learner.models.losses import LogLoss
from freshrank.learner.optimizers.base import Optimizer

ROWS = 20_000
UNITS: Mapping[str, tuple[float, float]] = {
    "x": (0.0, 1.0),
    "x / 1000": (0.0, 1e-3),
    "20 + 5x": (20.0, 5.0),
    "1e3 + 100x": (1e3, 100.0),
    "1e6 + 1e4x": (1e6, 1e4),
}
"""The number in the events: an origin, and a factor of ``x``."""
BEHIND = 0.005
"""How far the AUC in any unit may be behind that of the truth itself."""
MORE_LOSS = 0.02
"""The share by which its log loss may exceed that of the truth itself."""


class SensorReading(msgspec.Struct):
    """An event."""

    id: str
    sensor: str
    number: float
    label: int
    at: int


sensor = Entity("sensor", key="sensor")
readings = Stream("readings", id="id", time="at", key=sensor, schema=SensorReading)


class Nothing(FeatureView):
    """A view that no event changes: the number is all that there is to learn from."""

    entity, source = sensor, readings
    never = TimeSince(where=col.id == "")


class ScaleCell(NamedTuple):
    """Of one optimiser and one unit."""

    auc: float
    log_loss: float


class ScaleTable(NamedTuple):
    """Progressive AUC and log loss over all rows, by optimiser and unit."""

    cells: Mapping[str, Mapping[str, ScaleCell]]
    truth: ScaleCell
    """What the probabilities by which labels were drawn would have."""

    def figures(self) -> Iterator[Figure]:
        """Each cell with its reach."""
        least, most = self.truth.auc - BEHIND, self.truth.log_loss * (1.0 + MORE_LOSS)
        for optimizer, units in self.cells.items():
            for unit, cell in units.items():
                name = slug("scale", optimizer, unit)
                yield Figure(f"{name}_auc", cell.auc, "1", "higher", least, detail=True)
                yield Figure(f"{name}_log_loss", cell.log_loss, "nat", "lower", most, detail=True)

    def table(self) -> Table:
        """A line for each optimiser, a column for each unit: AUC and log loss."""
        title = f"scale: AUC, log loss; the truth {self.truth.auc:.3f}, {self.truth.log_loss:.3f}"
        table = Table("optimiser", *UNITS, title=title, title_justify="left")
        figures = {figure.name: figure for figure in self.figures()}
        for optimizer in self.cells:
            names = [slug("scale", optimizer, unit) for unit in UNITS]
            pairs = [(figures[f"{name}_auc"], figures[f"{name}_log_loss"]) for name in names]
            table.add_row(optimizer, *(", ".join(map(shown, pair)) for pair in pairs))
        return table


def scale_table(rows: int = ROWS, optimizers: Sequence[str] = tuple(OPTIMIZERS)) -> ScaleTable:
    """Replay `rows` events for each of some optimisers and each unit."""
    random = np.random.default_rng(0)
    x = random.normal(size=rows)
    truth = 1.0 / (1.0 + np.exp(-2.0 * x))
    positive = random.random(rows) < truth
    cells = {
        name: {
            unit: _replayed(OPTIMIZERS[name], origin + factor * x, positive)
            for unit, (origin, factor) in UNITS.items()
        }
        for name in optimizers
    }
    return ScaleTable(cells, _cell_of(positive, truth))


def _replayed(optimizer: Optimizer, numbers: Doubles, positive: Bools) -> ScaleCell:
    pipeline = Pipeline(
        "scale",
        stream=readings,
        features=[Nothing],
        context=["number"],
        label=Labelled(positive=col.label == 1),
        model=LogisticRegression(),
        optimizer=optimizer,
    )
    rows = len(numbers)
    times_ms = 1_000_000 + 10 * np.arange(rows)
    events = zip(
        numbers.tolist(), positive.astype(np.int64).tolist(), times_ms.tolist(), strict=True
    )
    values = [
        msgspec.json.encode(SensorReading(str(number), "one", *one))
        for number, one in enumerate(events)
    ]
    metrics = asyncio.run(replay(pipeline, History([b"one"] * rows, values, times_ms)))
    return ScaleCell(float(str(metrics["auc"])), float(str(metrics["log_loss"])))


def _cell_of(positive: Bools, probabilities: Doubles) -> ScaleCell:
    labels, scores = positive.astype(np.float32), probabilities.astype(np.float32)
    return ScaleCell(exact_auc(labels, scores), float(LogLoss().value(labels, scores).mean()))
