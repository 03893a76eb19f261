"""How well and how fast one core learns Criteo in one pass, predicting each row before learning it.

The learners take the path of the running system: `CompiledDifferentiator` on the weights of a
follower, `Learner.offer`, a step, and the delta applied to those weights. The time does not include
reading the files and encoding the ids (`criteo_data`).
"""

from __future__ import annotations

import time
from collections.abc import Mapping
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
from freshrank.learner.models.base import ModelSpec
from freshrank.learner.models.deepfm import DeepFM
from freshrank.learner.models.logistic_regression import LogisticRegression
from freshrank.learner.models.losses import LogLoss
from freshrank.learner.optimizers.base import Optimizer
from freshrank.learner.optimizers.default import DEFAULT_OPTIMIZER
from freshrank.learner.optimizers.ftrl import FTRL
from freshrank.learner.parameters.weights import ModelWeights
from freshrank.learner.settings import LearnerSettings

# Examples of a step: the system's default. With a single one the log loss is 0.0002 better.
BATCH = 256
# The click rate that the intercept starts at: as in the reference, a log-odds of -3.4.
BASE_RATE = 0.0323
# Rows of a pass that compiles the kernels, or loads them, before the timed ones.
_WARM_ROWS = 4 * BATCH


LEARNERS: Mapping[str, tuple[ModelSpec, Optimizer]] = {
    "": (LogisticRegression(base_rate=BASE_RATE), FTRL(alpha=0.05, beta=1.0, l1=1.0, l2=1.0)),
    "_untuned": (LogisticRegression(), DEFAULT_OPTIMIZER),
    "_deepfm": (DeepFM(), DEFAULT_OPTIMIZER),
}
"""By the end of the names of their figures; only the first is tuned."""


class Pass(NamedTuple):
    """The result of one pass over the rows."""

    scores: Floats
    """float32[n]: the prediction for each row before it was learned."""
    seconds: float


def one_pass(data: Criteo, name: str = "") -> Pass:
    """Learn all rows once, by one of `LEARNERS` that starts without any weights."""
    spec, optimizer = LEARNERS[name]
    model = spec.bind(LAYOUT)
    learner = Learner(model, optimizer, LearnerSettings(batch_examples=BATCH))
    weights = ModelWeights(model, optimizer)
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
    found: list[Figure] = []
    for name in LEARNERS:
        one_pass(Criteo(data.ids[:_WARM_ROWS], data.labels[:_WARM_ROWS]), name)
        passes = []
        for number in range(options.rounds):
            passes.append(one_pass(data, name))
            learner = name.strip("_") or "tuned"
            console.print(f"{learner}, round {number + 1}: {passes[-1].seconds:.2f} s")
        found += _figures(name, data, passes)
    return found


def _figures(name: str, data: Criteo, passes: list[Pass]) -> list[Figure]:
    """The quality of all passes is the same. Only the first of `LEARNERS` has a reach."""
    scores, rows = passes[0].scores, len(data.labels)
    half, judged = rows // 2, name == ""
    rate = median(rows / one.seconds for one in passes)
    loss = float(LogLoss().value(data.labels, scores).mean())
    auc, last = exact_auc(data.labels, scores), exact_auc(data.labels[half:], scores[half:])
    return [
        Figure(f"log_loss{name}", loss, "nat", "lower", 0.1345 if judged else None),
        Figure(f"auc{name}", auc, "1", "higher", 0.69 if judged else None),
        Figure(f"auc_last_half{name}", last, "1", "higher"),
        Figure(f"rows_per_s{name}", rate, "1/s", "higher", 100_000 if judged else None),
    ]
