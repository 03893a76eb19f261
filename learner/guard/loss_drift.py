"""Detects that the loss has become worse than before, as soon as the evidence allows."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from freshrank.actors.kernels.compile import kernel
from freshrank.actors.messages import Doubles, Floats
from freshrank.learner.models.losses import LEAST_PROBABILITY, Loss

# Examples over which the reference forgets: some minutes of a busy stream, so that it follows
# tastes; many more than a detection needs, so that a bad loss does not become the reference
# meanwhile.
HORIZON = 20_000
# Examples before anything is detected: at a click rate of 3 % sixty clicks, and a log loss known
# to 13 %.
WARM_UP = 2_000
# Probability that an excursion crosses the threshold without a change: at one excursion a second,
# one false alarm in thirty years.
_FALSE_ALARM = 1e-9
# Examples of one user come together: as if only each fourth were independent of the others.
_TOGETHER = 4.0
# Of positives in a row: all count.
NO_LIMIT = 1 << 62
# Sums kept of a set of examples: their number, loss, squared loss, labels, squared labels.
_SUMS = 5


@kernel
def _totals(labels: Floats, losses: Doubles, run: int, limit: int) -> tuple[Doubles, int, bool]:
    """Sums over examples, before which `run` positives came in a row.

    Gives float64[2, 5]: the sums of the examples that count, and of the positives beyond `limit` in
    a row, which wait; how many positives have come in a row now; and whether a negative came.
    """
    out = np.zeros((2, 5))
    ended = False
    for i in range(len(labels)):
        label, loss = np.float64(labels[i]), losses[i]
        if label > 0.5:
            run += 1
        else:
            run, ended = 0, True
            out[1] = 0.0
        to = out[1 if run > limit else 0]
        to[0] += 1.0
        to[1] += loss
        to[2] += loss * loss
        to[3] += label
        to[4] += label * label
    return out, run, ended


class LossDriftDetector:
    """A one-sided CUSUM (Page, "Continuous inspection schemes", Biometrika 1954) of the loss.

    It sums by how much the loss of each example, scored before it was learned, exceeds what is
    allowed: ``1 + tolerance`` times the mean of the reference. While the sum is not positive the
    detector is at rest, and the examples it has seen go into the reference. Otherwise an excursion
    has begun, which ends in one of three ways:

    - the sum returns to zero: the excursion was chance;
    - it exceeds ``ln(1/p) * 4 * variance / (2 * tolerance * mean)``: the loss is worse. Without a
      change an excursion would get so far with a probability below ``p`` = 1e-9 (Lundberg's
      inequality, the variance taken fourfold because examples are not independent);
    - it has lasted for `HORIZON` examples: it may be chance all the same, so it is normal.

    Positives are known at once and negatives when their time is over (`feature_actors.labels`). So
    after a pause there are only positives for a while, and nothing is wrong. Positives that follow
    so many others that it is no chance wait, and are dropped when a negative comes; if none does
    for `label_delay_ms`, they count.

    A change of the label rate alone is no reason: where positives become more frequent, the
    allowed loss grows with that of the best constant prediction (`Loss.of_constant`; for the log
    loss the label's entropy). So a slow drift of tastes is never detected, however far it goes in
    the end, and neither is a sudden one that costs less than the tolerance.

    Parameters
    ----------
    loss
        Gives the loss of each example.
    tolerance
        The share by which the mean loss may exceed the reference.
    label_delay_ms
        How long after the positives come the negatives that were shown beside them, at most.

    >>> from freshrank.learner.models.losses import LogLoss
    >>> detector = LossDriftDetector(LogLoss(), tolerance=0.5)
    >>> labels = np.tile(np.array([1, 0], np.float32), 1_500)
    >>> detector.add(labels, np.where(labels > 0, 0.8, 0.2).astype(np.float32))
    False
    >>> detector.add(1 - labels, np.where(labels > 0, 0.8, 0.2).astype(np.float32))
    True
    >>> print(detector)
    log loss 1.609 over 3000 examples, 0.223 before
    """

    def __init__(self, loss: Loss, tolerance: float, label_delay_ms: int = 0) -> None:
        self._loss = loss
        self._tolerance = tolerance
        self.label_delay_ms = label_delay_ms
        self._reference: Doubles = np.zeros(_SUMS)
        self._excursion: Doubles = np.zeros(_SUMS)
        self._waiting: Doubles = np.zeros(_SUMS)
        self._run, self._run_since_ms, self._now_ms = 0, 0, 0

    def __str__(self) -> str:
        examples, loss = self._excursion[:2]
        before = self._reference[1] / self._reference[0]
        name = self._loss.name.replace("_", " ")
        return f"{name} {loss / examples:.3f} over {examples:.0f} examples, {before:.3f} before"

    @property
    def at_rest(self) -> bool:
        """Whether nothing speaks against the weights that gave the last scores."""
        return bool(self._excursion[0] == 0.0 and self._waiting[0] == 0.0)

    def add(self, labels: Floats, predictions: Floats, at_ms: int = 0) -> bool:
        """Take examples, float32[n] each; True when the loss has certainly become worse.

        `at_ms` is the event time of the newest label that is known.
        """
        self._take(labels, self._loss.value(labels, predictions), at_ms)
        known = self._reference[0] >= WARM_UP and self._excursion[0] > 0
        excess = self._excess() if known else 0.0
        if excess > 0.0 and excess > self._threshold():
            return True
        if excess <= 0.0 or self._excursion[0] >= HORIZON:
            fade = math.exp(-float(self._excursion[0]) / HORIZON)
            self._reference = self._reference * fade + self._excursion
            self._excursion = np.zeros(_SUMS)
        return False

    def forget(self) -> None:
        """Drop the excursion and what waits: the examples behind them were not learned."""
        self._excursion, self._waiting, self._run = np.zeros(_SUMS), np.zeros(_SUMS), 0

    def start_over(self) -> None:
        """Drop the reference, too: the normal loss is to be found out again."""
        self._reference = np.zeros(_SUMS)
        self.forget()

    def state(self) -> list[float]:
        """What a checkpoint keeps."""
        sums = np.concatenate((self._reference, self._excursion, self._waiting))
        return [*sums.tolist(), self._run, self._run_since_ms, self._now_ms]

    def restore(self, state: Sequence[float]) -> None:
        """Go on from what `state` gave.

        Checkpoints from before there were other losses than the log loss lack the squared labels,
        which equal the labels of 0 and 1.
        """
        sums = np.array(state[:-3]).reshape(3, -1)
        if sums.shape[1] == _SUMS - 1:
            sums = sums[:, [0, 1, 2, 3, 3]]
        self._reference, self._excursion, self._waiting = sums
        self._run, self._run_since_ms, self._now_ms = map(int, state[-3:])

    def _take(self, labels: Floats, losses: Doubles, at_ms: int) -> None:
        self._now_ms = max(self._now_ms, at_ms)
        if not self._run:
            self._run_since_ms = self._now_ms
        overdue = self._now_ms - self._run_since_ms >= self.label_delay_ms
        limit = NO_LIMIT if overdue else self._longest_run()
        sums, self._run, ended = _totals(labels, losses, self._run, limit)
        if overdue:
            self._excursion += self._waiting
        if overdue or ended:
            self._waiting = np.zeros(_SUMS)
        if ended:
            self._run_since_ms = self._now_ms
        self._excursion += sums[0]
        self._waiting += sums[1]

    def _longest_run(self) -> int:
        """How many positives in a row may be chance; before the first negative there is none."""
        examples, positives = self._reference[0], self._reference[3]
        if examples == 0:
            return 0
        if examples < WARM_UP or positives >= examples:
            return NO_LIMIT
        rate = max(float(positives / examples), LEAST_PROBABILITY)
        return math.ceil(math.log(_FALSE_ALARM) / math.log(rate))

    def _of_constant(self, sums: Doubles) -> float:
        return self._loss.of_constant(float(sums[3] / sums[0]), float(sums[4] / sums[0]))

    def _excess(self) -> float:
        """By how much the excursion's loss exceeds what is allowed, summed over its examples."""
        examples, loss = self._excursion[:2]
        count, before = self._reference[:2]
        harder = _ratio(self._of_constant(self._excursion), self._of_constant(self._reference))
        allowed = (1.0 + self._tolerance) * before / count * max(1.0, harder)
        return float(loss - examples * allowed)

    def _threshold(self) -> float:
        count, loss, squares = self._reference[:3]
        mean = loss / count
        variance = squares / count - mean * mean
        evidence = -math.log(_FALSE_ALARM) * _TOGETHER * variance
        least = self._loss.least_evidence(self._of_constant(self._reference))
        return max(least, _ratio(float(evidence), float(2.0 * self._tolerance * mean)))


def _ratio(value: float, reference: float) -> float:
    """``value / reference``; 0 where there is no reference."""
    return value / reference if reference > 0.0 else 0.0
