"""How well and how fast one core learns Criteo in one pass, predicting each row before learning it.

FTRL logistic regression takes the path of the running system: `CompiledDifferentiator` on the
weights of a follower, `Learner.offer`, a step, and the delta applied to those weights. The time
does not include reading the files and encoding the ids (`criteo_data`).
"""

from __future__ import annotations

import time
from typing import NamedTuple

import numpy as np
from rich.console import Console

from freshrank.actors.messages import Examples, Floats, Inputs, OffsetRange, SourceOffsets
from freshrank.benchmarks.quality.criteo_data import LAYOUT, Criteo, load
from freshrank.benchmarks.registry import BenchOptions, needed_data
from freshrank.benchmarks.report import Figure, median
from freshrank.learner.core import Learner
from freshrank.learner.evaluation.metrics import exact_auc
from freshrank.learner.gradients.compiled import CompiledDifferentiator
from freshrank.learner.models.logistic_regression import LogisticRegression
from freshrank.learner.models.losses import LogLoss
from freshrank.learner.optimizers.ftrl import FTRL
from freshrank.learner.parameters.weights import ModelWeights
from freshrank.learner.settings import LearnerSettings

# Examples of a step: the system's default. With a single one the log loss is 0.0002 better.
BATCH = 256
# The click rate that the intercept starts at: as in the reference, a log-odds of -3.4.
BASE_RATE = 0.0323
# Rows of a pass that compiles the kernels, or loads them, before the timed ones.
_WARM_ROWS = 4 * BATCH


class Pass(NamedTuple):
    """The result of one pass over the rows."""

    scores: Floats
    """float32[n]: the prediction for each row before it was learned."""
    seconds: float


def one_pass(data: Criteo) -> Pass:
    """Learn all rows once, starting without any weights."""
    model = LogisticRegression(base_rate=BASE_RATE).bind(LAYOUT)
    optimizer = FTRL(alpha=0.05, beta=1.0, l1=1.0, l2=1.0)
    learner = Learner(model, optimizer, LearnerSettings(batch_examples=BATCH))
    weights = ModelWeights(model)
    weights.apply(learner.snapshot(now_ms=0))
    differentiator = CompiledDifferentiator(model, weights)
    rows = len(data.labels)
    no_dense = np.zeros((rows, 0), np.float32)
    times_ms = np.zeros(rows, np.int64)
    scores: Floats = np.empty(rows, np.float32)
    started = time.perf_counter()
    for begin in range(0, rows, BATCH):
        end = min(begin + BATCH, rows)
        part = slice(begin, end)
        examples = Examples(
            OffsetRange(0, _at(begin), _at(end)),
            Inputs(no_dense[part], data.ids[part]),
            data.labels[part],
            times_ms[part],
        )
        gradient = differentiator.gradient(examples)
        scores[part] = gradient.scores
        learner.offer(gradient, monotonic=0.0)
        delta = learner.step(now_ms=0, monotonic=0.0)
        assert delta is not None  # the guard has not refused the step
        weights.apply(delta)
    return Pass(scores, time.perf_counter() - started)


def _at(row: int) -> SourceOffsets:
    """The rows of the data set, as offsets of a topic."""
    return SourceOffsets({"criteo": row})


def run(options: BenchOptions, console: Console) -> list[Figure]:
    """Measure `options.rounds` passes over the sample; `--data` is the folder of ``part-*.orc``."""
    folder = needed_data(options, "learner", "the folder of the Criteo sample (part-*.orc)")
    with console.status(f"reading {folder}"):
        data = load(folder if list(folder.glob("part-*.orc")) else folder / "criteo")
        one_pass(Criteo(data.ids[:_WARM_ROWS], data.labels[:_WARM_ROWS]))
    passes = []
    for number in range(options.rounds):
        passes.append(one_pass(data))
        console.print(f"round {number + 1}: {passes[-1].seconds:.2f} s")
    scores, rows = passes[0].scores, len(data.labels)
    half = rows // 2
    rate = median(rows / one.seconds for one in passes)
    loss = float(LogLoss().value(data.labels, scores).mean())
    return [
        Figure("log_loss", loss, "nat", "lower", 0.1345),
        Figure("auc", exact_auc(data.labels, scores), "1", "higher", 0.69),
        Figure("auc_last_half", exact_auc(data.labels[half:], scores[half:]), "1", "higher"),
        Figure("rows_per_s", rate, "1/s", "higher", 100_000),
    ]
