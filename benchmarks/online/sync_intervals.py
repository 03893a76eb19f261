"""What a short way from an event to the served weights is worth: AUC by the interval between syncs.

The protocol is that of Monolith (Liu et al., "Monolith: real time recommendation system with
collisionless embedding table", 2022, algorithm 1 and table 2): the first five sevenths of the time
are learned; over the rest the rows of an interval are scored by the weights of its beginning, then
learned. A batch-trained model is never synced.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from copy import deepcopy
from typing import NamedTuple

import numpy as np
from rich.console import Console
from rich.table import Table

from freshrank.actors.messages import Bools, Doubles, Floats, Inputs, Ints
from freshrank.benchmarks.online.own_learners import encoded
from freshrank.benchmarks.online.real_streams import REAL
from freshrank.benchmarks.online.stream_file import LabelledStream
from freshrank.benchmarks.registry import BenchOptions, needed_data
from freshrank.benchmarks.report import Figure
from freshrank.benchmarks.robust.cells import slug
from freshrank.benchmarks.robust.learning_run import LearningRun, Setup
from freshrank.benchmarks.robust.streams import StreamRows
from freshrank.learner.evaluation.metrics import exact_auc
from freshrank.learner.models.base import ModelSpec
from freshrank.learner.models.deepfm import DeepFM
from freshrank.learner.models.logistic_regression import LogisticRegression
from freshrank.learner.optimizers.default import DEFAULT_OPTIMIZER

ROWS = 100_000
"""At most, of each stream."""
BATCH_PART = 5.0 / 7.0
"""The share of the time that is learned before anything is scored."""
DAYS = 7.0
"""Of a stream without times, as the sample of Criteo is: its rows are spread evenly over them."""
INTERVALS_S: Mapping[str, float] = {
    "1 d": 86_400.0,
    "5 h": 18_000.0,
    "1 h": 3_600.0,
    "30 min": 1_800.0,
    "1 min": 60.0,
    "1 s": 1.0,
    "100 ms": 0.1,
}
"""Between two syncs, longest first."""
BATCHES: Mapping[str, int] = {"in order": 0, "1 shuffled": 1, "3 shuffled": 3}
"""Ways to learn the batch part: passes in random order; 0: one in the order of time."""
STREAMS = "movielens", "jd", "criteo"
"""Of `REAL`."""
MODELS: Mapping[str, ModelSpec] = {"linear": LogisticRegression(), "DeepFM": DeepFM()}


def times_of(stream: LabelledStream) -> Doubles:
    """float64[n]: its times in s; where it has none, nominal ones, evenly over `DAYS`."""
    if stream.times_s is not None:
        return stream.times_s
    return np.linspace(0.0, DAYS * 86_400.0, len(stream.rows), endpoint=False)


def sync_points(times_s: Doubles, interval_s: float) -> Ints:
    """int64[s]: the places of the first rows of all intervals that have any, and the end.

    >>> sync_points(np.array([0.0, 0.4, 1.0, 3.5]), 1.0).tolist()
    [0, 2, 3, 4]
    """
    number = np.floor((times_s - times_s[:1]) / interval_s)
    begins = np.flatnonzero(np.diff(number, prepend=-1.0))
    return np.append(begins, len(times_s)).astype(np.int64)


class Scored(NamedTuple):
    """AUC over the rows after the batch part."""

    batch: dict[str, float]
    """Of weights that are never synced, by how the batch part was learned."""
    online: dict[str, float]
    """By interval, from the best of these on."""

    @property
    def best_batch(self) -> float:
        """Of the best way to learn the batch part, which is chosen by the rows after it."""
        return max(self.batch.values())


class SyncedModel:
    """A model that learns the batch part of a stream, and is scored on the rest.

    Parameters
    ----------
    spec
        What learns, with the default optimiser.
    stream
        Its rows, and their times.
    """

    def __init__(self, spec: ModelSpec, stream: LabelledStream) -> None:
        layout, self._inputs = encoded(stream)
        self._setup = Setup(spec, DEFAULT_OPTIMIZER, shards=1, layout=layout)
        self._labels, times_s = stream.labels, times_of(stream)
        end_s = times_s[0] + BATCH_PART * (times_s[-1] - times_s[0])
        self._begin = int(np.searchsorted(times_s, end_s))
        self._times_s = times_s[self._begin :]

    def learned(self, passes: int = 0) -> LearningRun:
        """The batch part, learned in `passes` in random order; 0: in one in the order of time."""
        run, random = LearningRun(self._setup), np.random.default_rng(passes)
        for _ in range(passes or 1):
            order = random.permutation(self._begin) if passes else np.arange(self._begin)
            run.play(self._part(order))
        return run

    def never_synced(self, run: LearningRun) -> float:
        """The AUC of the weights as they are."""
        return self._auc(run.copy.score(self._part(slice(self._begin, None)).inputs))

    def sync_points(self, interval_s: float) -> Ints:
        """See the function of this name: of the rows after the batch part."""
        return sync_points(self._times_s, interval_s)

    def synced(self, run: LearningRun, points: Ints) -> float:
        """The AUC of weights that are synced at `points`; `run` stays as it is."""
        run, scores = deepcopy(run), list[Floats]()
        for begin, end in itertools.pairwise((points + self._begin).tolist()):
            rows = self._part(slice(begin, end))
            scores.append(run.copy.score(rows.inputs))
            run.play(rows)
        return self._auc(np.concatenate(scores))

    def _part(self, places: slice | Ints) -> StreamRows:
        labels = self._labels[places]
        clean: Bools = np.zeros(len(labels), np.bool_)
        inputs = Inputs(self._inputs.dense[places], self._inputs.ids[places])
        return StreamRows(inputs, labels, labels, clean)

    def _auc(self, scores: Floats) -> float:
        return exact_auc(self._labels[self._begin :], scores)


def score(spec: ModelSpec, stream: LabelledStream, intervals_s: Mapping[str, float]) -> Scored:
    """Learn the batch part in each way, then the rest with each interval."""
    model = SyncedModel(spec, stream)
    runs = {name: model.learned(passes) for name, passes in BATCHES.items()}
    batch = {name: model.never_synced(run) for name, run in runs.items()}
    best = runs[max(batch, key=batch.__getitem__)]
    points = {name: model.sync_points(interval_s) for name, interval_s in intervals_s.items()}
    # Intervals shorter than the time between rows are all alike.
    distinct = {one.tobytes(): one for one in points.values()}
    aucs = {key: model.synced(best, one) for key, one in distinct.items()}
    return Scored(batch, {name: aucs[one.tobytes()] for name, one in points.items()})


def figures_of(stream: str, model: str, scored: Scored) -> Iterator[Figure]:
    """The AUC of both, and what online gains over the best batch: it is to be ahead throughout."""
    yield Figure(slug("auc batch", stream, model), scored.best_batch, "1", "higher", detail=True)
    for interval, auc in scored.online.items():
        name = stream, model, interval
        yield Figure(slug("auc", *name), auc, "1", "higher", detail=True)
        yield Figure(slug("gain", *name), auc - scored.best_batch, "1", "higher", 0.0)


def curve(stream: str, found: Mapping[str, Scored]) -> Table:
    """A column for each model: the AUC of each way to learn in batches, and by interval."""
    table = Table("weights", *found, title=f"{stream}: AUC", title_justify="left")
    for way in BATCHES:
        aucs = (f"{scored.batch[way]:.4f}" for scored in found.values())
        table.add_row(f"batch, {way}", *aucs)
    table.add_section()
    for interval in INTERVALS_S:
        aucs = (f"{scored.online[interval]:.4f}" for scored in found.values())
        table.add_row(f"synced each {interval}", *aucs)
    return table


def run(options: BenchOptions, console: Console) -> list[Figure]:
    """The curves of all models on all streams."""
    folder = needed_data(options, "intervals", "the folder of all data sets")
    figures: list[Figure] = []
    for name in STREAMS:
        stream, found = REAL[name](folder, round(ROWS * options.scale)), dict[str, Scored]()
        for model, spec in MODELS.items():
            with console.status(f"{name}, {model}"):
                found[model] = score(spec, stream, INTERVALS_S)
            figures += figures_of(name, model, found[model])
        console.print(curve(name, found))
    return figures
