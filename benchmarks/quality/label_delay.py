"""Whether labels that come late bias what is served: served scores beside the true click rate.

Fifty users are shown items, one slate a second, and click on some of them a while later. The items
take the path of the running system, without its servers: the score of the weights at the time, the
joiner of a partition, gradient and step. Once more the joiner gets no scores, and so learns each
item when its label is known only: the bias that this has is the reason why it is not done.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from rich.console import Console

from freshrank.actors.impressions import ServedRows
from freshrank.actors.messages import (
    Doubles,
    Examples,
    Floats,
    IdField,
    InputLayout,
    Inputs,
    Ints,
    OffsetRange,
    SourceOffsets,
)
from freshrank.benchmarks.registry import BenchOptions
from freshrank.benchmarks.report import Figure
from freshrank.feature_actors.labels.examples import LabelledRows
from freshrank.feature_actors.labels.joiner import Joiner
from freshrank.learner.core import Learner
from freshrank.learner.evaluation.metrics import exact_auc
from freshrank.learner.gradients.compiled import CompiledDifferentiator
from freshrank.learner.models.logistic_regression import LogisticRegression
from freshrank.learner.optimizers.default import DEFAULT_OPTIMIZER
from freshrank.learner.settings import LearnerSettings

WITHIN_MS = {"1m": 60_000, "10m": 600_000, "30m": 1_800_000, "1d": 86_400_000}
CLICK_RATE = 0.0987
SECONDS = 7_200
SLATE = 10
USERS, ITEMS = 50, 1_000
# The mean time from an item to the click on it.
CLICK_DELAY_MS = 15_000
NEVER = np.int64(2**62)
# The share by which the mean served score may differ from the click rate.
MOST_BIAS = 0.02
_GRACE_MS = 10_000
_LAYOUT = InputLayout(("taste",), (IdField("user"), IdField("item")))


class ShownTraffic(NamedTuple):
    """What ``n`` shown items are and what becomes of them, in order of time."""

    shown_ms: Ints
    dense: Floats
    """float32[n, 1]."""
    ids: Ints
    """int64[n, 2]."""
    clicked_ms: Ints
    """int64[n]: when each was clicked; `NEVER` where it was not."""


class ServedScores(NamedTuple):
    """What a run has served, and how it judges itself."""

    bias: float
    """By which share the mean score is above the share of items that were clicked."""
    bias_later: float
    """That of the second half of the traffic."""
    auc: float
    """Of the scores and the clicks."""
    auc_told: float
    """That of the learner's own progressive validation."""


def traffic(seconds: int, pause_s: int = 0, seed: int = 1) -> ShownTraffic:
    """One slate a second, with a pause of `pause_s` after half of them."""
    random = np.random.default_rng(seed)
    count = seconds * SLATE
    second = np.repeat(np.arange(seconds), SLATE)
    users = np.repeat(random.integers(1, USERS + 1, seconds), SLATE)
    items = random.integers(1, ITEMS + 1, count)
    taste = random.normal(size=count).astype(np.float32)
    logits = random.normal(0, 0.5, USERS + 1)[users] + random.normal(0, 0.5, ITEMS + 1)[items]
    chances = _with_mean(logits + 0.8 * taste, CLICK_RATE)
    shown_ms = 1_000 * (second + np.where(second < seconds // 2, 0, pause_s))
    delay_ms = random.exponential(CLICK_DELAY_MS, count).astype(np.int64) + 500
    clicked = random.random(count) < chances
    ids = np.stack([users, items + USERS], axis=1).astype(np.int64)
    clicked_ms = np.where(clicked, shown_ms + delay_ms, NEVER)
    return ShownTraffic(shown_ms, taste[:, None], ids, clicked_ms)


def _with_mean(logits: Doubles, mean: float) -> Doubles:
    """The probabilities of `logits`, shifted so that their mean is `mean`."""
    low, high = -20.0, 20.0
    while high - low > 1e-9:
        middle = (low + high) / 2
        if (1 / (1 + np.exp(-logits - middle))).mean() < mean:
            low = middle
        else:
            high = middle
    found: Doubles = 1 / (1 + np.exp(-logits - low))
    return found


class _DelayedRun:
    """A joiner and a learner over the traffic, a second at a time."""

    def __init__(self, traffic: ShownTraffic, within_ms: int, *, at_once: bool) -> None:
        self._traffic, self._at_once = traffic, at_once
        model = LogisticRegression().bind(_LAYOUT)
        self._learner = Learner(model, DEFAULT_OPTIMIZER, LearnerSettings())
        self._differentiator = CompiledDifferentiator(model, self._learner.weights)
        self._joiner = Joiner(within_ms, _GRACE_MS, (len(_LAYOUT.dense), _LAYOUT.id_width))
        self._clicks = np.argsort(traffic.clicked_ms, kind="stable")
        self._clicked_ms = traffic.clicked_ms[self._clicks]
        self._offset = 0
        self.scores: Floats = np.zeros(len(traffic.shown_ms), np.float32)

    def serve(self) -> ServedScores:
        shown_ms = self._traffic.shown_ms
        at_ms = 0
        while at_ms <= shown_ms[-1]:
            begin, end = np.searchsorted(shown_ms, [at_ms, at_ms + 1_000])
            self._second(at_ms, np.arange(begin, end))
            at_ms += 1_000
        clicked = (self._traffic.clicked_ms < NEVER).astype(np.float32)
        told = self._learner.validation.lifetime.quality().auc
        half = len(clicked) // 2
        later = _bias(self.scores[half:], clicked[half:])
        auc = exact_auc(clicked, self.scores)
        return ServedScores(_bias(self.scores, clicked), later, auc, told)

    def _second(self, at_ms: int, rows: Ints) -> None:
        if len(rows):
            inputs = Inputs(self._traffic.dense[rows], self._traffic.ids[rows])
            self.scores[rows] = self._learner.weights.score(inputs)
            scores = self.scores[rows] if self._at_once else np.full(len(rows), np.nan, np.float32)
            served = ServedRows(rows, inputs, scores)
            times_ms = self._traffic.shown_ms[rows]
            self._learn(self._joiner.show(rows + 1, rows + 1, times_ms, rows, served, at_ms), at_ms)
        begin, end = np.searchsorted(self._clicked_ms, [at_ms, at_ms + 1_000])
        label_ms, clicked = self._clicked_ms[begin:end], self._clicks[begin:end]
        clock_ms = np.append(label_ms, at_ms + 1_000)
        self._learn(self._joiner.happen(clock_ms, label_ms, clicked + 1), at_ms)

    def _learn(self, rows: LabelledRows, at_ms: int) -> None:
        if not len(rows):
            return
        begin, self._offset = self._offset, self._offset + 1
        first, end = (SourceOffsets({"shown": offset}) for offset in (begin, self._offset))
        examples = Examples(
            OffsetRange(0, first, end),
            Inputs(rows.dense, rows.ids),
            rows.labels,
            rows.event_times_ms,
            rows.corrects,
            rows.served,
        )
        self._learner.offer(self._differentiator.gradient(examples), at_ms / 1_000)
        while self._learner.due_in_s(at_ms / 1_000 + 1.0) == 0.0:
            self._learner.step(at_ms, at_ms / 1_000)


def _bias(scores: Floats, clicked: Floats) -> float:
    return float(scores.sum(dtype=np.float64) / clicked.sum(dtype=np.float64)) - 1.0


def serve(traffic: ShownTraffic, within_ms: int, *, at_once: bool = True) -> ServedScores:
    """Show, score, join and learn the `traffic`; without `at_once` when labels are known only."""
    return _DelayedRun(traffic, within_ms, at_once=at_once).serve()


def run(options: BenchOptions, console: Console) -> list[Figure]:
    """The bias of the mean served score for each `within`, without and with a pause."""
    seconds = max(60, round(SECONDS * options.scale))
    figures: list[Figure] = []
    for pause_s in (0, 1_800):
        shown = traffic(seconds, pause_s)
        rate = float((shown.clicked_ms < NEVER).mean())
        for within, within_ms in WITHIN_MS.items():
            name = f"{within}_pause" if pause_s else within
            now, before = serve(shown, within_ms), serve(shown, within_ms, at_once=False)
            console.print(
                f"within {within}, pause {pause_s} s: clicked {rate:.4f}, mean score "
                f"{rate * (1 + now.bias):.4f} (learned when known: {rate * (1 + before.bias):.4f}),"
                f" AUC {now.auc:.4f} ({before.auc:.4f})"
            )
            figures += [
                Figure(f"bias_{name}", abs(now.bias), "1", "lower", MOST_BIAS),
                Figure(f"bias_when_known_{name}", abs(before.bias), "1", "lower"),
                Figure(f"auc_{name}", now.auc, "1", "higher"),
                Figure(f"auc_error_{name}", abs(now.auc_told - now.auc), "1", "lower", 0.005),
            ]
    return figures
