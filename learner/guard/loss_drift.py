"""Detects that the loss has become worse than before, after as few examples as possible."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from freshrank.actors.kernels.compile import kernel
from freshrank.actors.messages import Bools, Doubles, Floats, Gradient
from freshrank.learner.evaluation.loss_sums import (
    constant_loss,
    label_moment_count,
    label_moments,
)
from freshrank.learner.models.losses import LEAST_PROBABILITY, Loss, losses_of

# Examples after which the weight of older examples in the reference has fallen to 1/e. They are
# some minutes of a busy stream, so that the reference follows tastes, and many more than a
# detection needs, so that a bad loss does not become the reference before it is detected.
HORIZON = 20_000
# Examples before the first detection: at a click rate of 3 % they have sixty clicks, which give the
# mean log loss to within 13 %.
WARM_UP = 2_000
# Probability that an excursion crosses the threshold without a change: with an excursion a second,
# a false alarm in thirty years.
_FALSE_ALARM = 1e-9
# Factor on the variance. Examples of a user arrive together and depend on each other, so four
# examples count as a single independent example.
_TOGETHER = 4.0
# The limit on examples of the same label in a row that lets all of them count.
NO_LIMIT = 1 << 62
# Sums over a set of examples begin with count, loss and squared loss; moments of labels follow.
_MOMENTS = 3


@kernel
def _totals(
    labels: Floats,
    moments: Doubles,
    losses: tuple[Doubles, Doubles],
    corrects: Bools,
    run: int,
    limits: tuple[int, int],
) -> tuple[Doubles, int, bool]:
    """Sums over examples; `moments` as of `label_moments`, `losses` as of `losses_of`.

    Before them `run` examples of the same label came in a row: positives, or if it is below 0
    negatives. `limits` are those of negatives and of positives.

    Gives float64[2, 3 + m]: the sums of the examples that count, and of those beyond their limit in
    a row, which wait; how many have come in a row now; and whether the label has changed.
    """
    out = np.zeros((2, _MOMENTS + moments.shape[1]))
    ended = False
    for i in range(len(labels)):
        loss, before = losses[0][i], losses[1][i]
        one = 1 if labels[i] > 0.5 else -1
        if run * one > 0:
            run += one
        else:
            run, ended = one, True
            out[1] = 0.0
        to = out[1 if run * one > limits[(one + 1) // 2] else 0]
        to[0] += 0.0 if corrects[i] else 1.0
        to[1] += loss - before
        to[2] += loss * loss - before * before
        for j in range(moments.shape[1]):
            to[_MOMENTS + j] += moments[i, j]
    return out, run, ended


class LossDriftDetector:
    """A one-sided CUSUM (Page, "Continuous inspection schemes", Biometrika 1954) of the loss.

    The detector sums the excess of each example's loss, scored before the model learned the
    example, over the allowed loss: ``1 + tolerance`` times the mean of the reference. While the sum
    is not positive the detector is at rest, and adds the examples to the reference. A positive sum
    starts an excursion, which ends in any of three ways:

    - the sum returns to zero: the excursion was chance;
    - the sum exceeds ``ln(1/p) * 4 * variance / (2 * tolerance * mean)``: the loss is worse.
      Without a change an excursion reaches this threshold with a probability below ``p`` = 1e-9
      (Lundberg's inequality, with four times the variance because examples are not independent);
    - the excursion lasts for `HORIZON` examples: its loss becomes part of the reference.

    Shown items are negatives at once, and corrected when they are clicked (`Examples.corrects`). So
    after the traffic pauses only positives arrive for a while, and only negatives when it goes on:
    neither is a sign of a worse loss. When more of the same label arrive in a row than chance
    explains, the further examples wait. The detector drops them when the other label arrives, and
    counts them when it does not arrive for `label_delay_ms`.

    A change of the label rate is hardly ever detected: where positives become more frequent, the
    allowed loss grows with the loss of the best constant prediction (`Loss.of_constant`; for the
    log loss the label's entropy). A model that was sure of rare positives may exceed even that.
    A slow drift of tastes is never detected, however far it goes in the end, nor is a sudden change
    that raises the loss by less than the tolerance.

    Parameters
    ----------
    loss
        Computes the loss of each example.
    tolerance
        The share by which the mean loss may exceed the reference: 0.5 allows 1.5 times its mean.
    label_delay_ms
        The time in ms after which examples of one label alone are no effect of a pause.

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
        self._none: Doubles = np.zeros(_MOMENTS + label_moment_count(loss))
        self._reference, self._excursion, self._waiting = (self._none.copy() for _ in range(3))
        self._run, self._run_since_ms, self._now_ms = 0, 0, 0

    def __str__(self) -> str:
        examples, loss = self._excursion[:2]
        before = self._reference[1] / self._reference[0]
        name = self._loss.name.replace("_", " ")
        return f"{name} {loss / examples:.3f} over {examples:.0f} examples, {before:.3f} before"

    @property
    def at_rest(self) -> bool:
        """Whether there is no evidence against the weights that gave the last scores."""
        return bool(self._excursion[0] == 0.0 and self._waiting[0] == 0.0)

    @property
    def normal(self) -> float:
        """The mean loss of the reference; 0 before there is a reference."""
        return _ratio(float(self._reference[1]), float(self._reference[0]))

    def add(
        self,
        labels: Floats,
        predictions: Floats,
        at_ms: int = 0,
        corrects: Bools | None = None,
        weights: Floats | None = None,
    ) -> bool:
        """Add examples, float32[n] each; return True if the loss has become worse.

        `at_ms` is the event time of the newest known label, in ms; `corrects` and `weights` see
        `Examples`.
        """
        losses = losses_of(self._loss, labels, corrects, predictions, weights)
        moments = label_moments(self._loss, labels, corrects, weights)
        none = np.zeros(len(labels), np.bool_)
        self._take((labels, moments), losses, none if corrects is None else corrects, at_ms)
        known = self._reference[0] >= WARM_UP and self._excursion[0] > 0
        excess = self._excess() if known else 0.0
        if excess > 0.0 and excess > self._threshold():
            return True
        if excess <= 0.0 or self._excursion[0] >= HORIZON:
            fade = math.exp(-float(self._excursion[0]) / HORIZON)
            self._reference = self._reference * fade + self._excursion
            self._excursion = self._none.copy()
        return False

    def add_gradient(self, gradient: Gradient) -> bool:
        """`add` the examples of a gradient, with the scores before they were learned."""
        return self.add(
            gradient.labels,
            gradient.scores,
            gradient.newest_event_ms,
            gradient.corrects,
            gradient.weights,
        )

    def forget(self) -> None:
        """Drop the excursion and the waiting examples: the model has not learned them."""
        self._excursion, self._waiting, self._run = self._none.copy(), self._none.copy(), 0

    def start_over(self) -> None:
        """Drop the reference, too, and measure the normal loss again."""
        self._reference = self._none.copy()
        self.forget()

    def state(self) -> list[float]:
        """Return the state for a checkpoint."""
        sums = np.concatenate((self._reference, self._excursion, self._waiting))
        return [*sums.tolist(), self._run, self._run_since_ms, self._now_ms]

    def restore(self, state: Sequence[float]) -> None:
        """Continue from the result of `state`.

        The first version of the state lacks the squared labels: its loss was the log loss, with
        labels 0 and 1, which equal their squares.
        """
        sums = np.array(state[:-3]).reshape(3, -1)
        if sums.shape[1] == _MOMENTS + 1:
            sums = sums[:, [0, 1, 2, 3, 3]]
        if sums.shape[1] < len(self._none):  # before there were weights
            sums = np.concatenate([sums, sums[:, :1]], axis=1)
        self._reference, self._excursion, self._waiting = sums
        self._run, self._run_since_ms, self._now_ms = map(int, state[-3:])

    def _take(
        self,
        known: tuple[Floats, Doubles],
        losses: tuple[Doubles, Doubles],
        corrects: Bools,
        at_ms: int,
    ) -> None:
        """Add examples to the excursion, and those beyond the limit to those that wait.

        What is `known` are their labels, and the moments of these.
        """
        self._now_ms = max(self._now_ms, at_ms)
        if not self._run:
            self._run_since_ms = self._now_ms
        overdue = self._now_ms - self._run_since_ms >= self.label_delay_ms
        limits = (NO_LIMIT, NO_LIMIT) if overdue else self._longest_runs()
        sums, self._run, ended = _totals(*known, losses, corrects, self._run, limits)
        if overdue:
            self._excursion += self._waiting
        if overdue or ended:
            self._waiting = self._none.copy()
        if ended:
            self._run_since_ms = self._now_ms
        self._excursion += sums[0]
        self._waiting += sums[1]

    def _longest_runs(self) -> tuple[int, int]:
        """Return the numbers of negatives and of positives in a row that chance explains.

        Before the first example of the reference that is no positive. There is no limit while the
        reference has fewer than `WARM_UP` examples, or a single label.
        """
        examples, positives = self._reference[0], self._reference[_MOMENTS]
        if examples == 0:
            return NO_LIMIT, 0
        if examples < WARM_UP:
            return NO_LIMIT, NO_LIMIT
        rate = float(positives / examples)
        return _longest_run(1.0 - rate), _longest_run(rate)

    def excess_of(self, sums: Doubles) -> float:
        """Return the excess over the allowed loss of other examples, summed over them.

        `sums` are those of `loss_sums`. It is 0 or less while there
        is no reference.
        """
        count, before = self._reference[:2]
        if not count:
            return 0.0
        harder = _ratio(constant_loss(self._loss, sums[2:], float(sums[0])), self._base_loss)
        allowed = (1.0 + self._tolerance) * before / count * max(1.0, harder)
        return float(sums[1] - sums[0] * allowed)

    @property
    def _base_loss(self) -> float:
        """The mean loss of the best constant prediction over the reference."""
        return constant_loss(self._loss, self._reference[_MOMENTS:], float(self._reference[0]))

    def _excess(self) -> float:
        """Return the excess of the excursion's loss over the allowed loss, summed over examples."""
        return self.excess_of(np.delete(self._excursion, 2))

    def _threshold(self) -> float:
        """Return the excess, in the unit of the loss, beyond which the loss has become worse."""
        count, loss, squares = self._reference[:3]
        mean = loss / count
        variance = squares / count - mean * mean
        evidence = -math.log(_FALSE_ALARM) * _TOGETHER * variance
        least = self._loss.least_evidence(self._base_loss)
        return max(least, _ratio(float(evidence), float(2.0 * self._tolerance * mean)))


def _longest_run(rate: float) -> int:
    """Return how many examples in a row have a label of this `rate` by chance."""
    if rate >= 1.0:
        return NO_LIMIT
    return math.ceil(math.log(_FALSE_ALARM) / math.log(max(rate, LEAST_PROBABILITY)))


def _ratio(value: float, reference: float) -> float:
    """Return ``value / reference``; 0 if `reference` is not positive."""
    return value / reference if reference > 0.0 else 0.0
