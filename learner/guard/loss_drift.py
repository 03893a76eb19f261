"""Whether the log loss has become worse than before, decided as soon as the evidence allows."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from freshrank.actors.kernels.compile import kernel
from freshrank.actors.messages import Doubles, Floats
from freshrank.learner.evaluation.metrics import LEAST_PROBABILITY

# Examples over which the reference forgets: some minutes of a busy stream, so that it follows
# tastes; many more than a trip needs, so that what is bad is not taken for normal meanwhile.
HORIZON = 20_000
# Examples before anything is judged: at a click rate of 3 % sixty clicks, a loss known to 13 %.
WARM_UP = 2_000
# Of one excursion, were there no change: even at a thousand a second, one in thirty years.
_FALSE_ALARM = 1e-9
# Examples of one user come together: as if only each fourth were independent of the others.
_TOGETHER = 4.0
# Of positives in a row: all count.
NO_LIMIT = 1 << 62
# Nats. A model that is nearly always certain has next to no variance; three or four certain
# mistakes (16 nats each, see `validation`) are still no reason to go back.
_LEAST_EVIDENCE = 60.0


@kernel
def _totals(labels: Floats, scores: Floats, run: int, limit: int) -> tuple[Doubles, int, bool]:
    """Sums over examples, of which `run` positives came before.

    Gives float64[2, 4]: (examples, log loss, its square, positives) of those that count, and of the
    positives beyond `limit` in a row, which wait; how many of these have come in a row now; and
    whether there was a negative.
    """
    out = np.zeros((2, 4))
    ended = False
    for i in range(len(labels)):
        positive = labels[i] > 0.5
        likelihood = np.float64(scores[i]) if positive else 1.0 - np.float64(scores[i])
        loss = -np.log(max(likelihood, LEAST_PROBABILITY))
        if positive:
            run += 1
        else:
            run, ended = 0, True
            out[1] = 0.0
        to = out[1 if run > limit else 0]
        to[0] += 1.0
        to[1] += loss
        to[2] += loss * loss
        to[3] += labels[i]
    return out, run, ended


class LossDriftDetector:
    """A one-sided CUSUM (Page, "Continuous inspection schemes", Biometrika 1954) of the log loss.

    It adds up by how much the loss of each example, scored before it was learned, is beyond what
    is allowed: ``1 + tolerance`` times the mean of the reference. While the sum is not positive
    the test is at rest, and what it has seen goes into the reference. Otherwise an excursion has
    begun, which ends in one of three ways:

    - the sum returns to zero: it was chance;
    - it exceeds ``ln(1/p) * 4 * variance / (2 * tolerance * mean)``: the loss is worse. Were it
      not, an excursion would get so far with a probability below ``p`` = 1e-9 (Lundberg's
      inequality, the variance taken fourfold because examples are not independent);
    - it has lasted for `HORIZON` examples: not bad enough to be told from chance, so it is normal.

    Positives are known at once and negatives when their time is over (`feature_actors.joiner`). So
    after a pause there are positives alone for a while, and nothing is wrong. Those that follow so
    many others that it is no chance wait, and are forgotten when a negative comes; if none does for
    `label_delay_ms`, they count.

    A change of the label rate alone is no reason: where positives become more frequent, the
    allowed loss grows with the entropy of the label (He et al., "Practical lessons from predicting
    clicks on ads at Facebook", 2014). So a slow drift of tastes never trips it, however far it
    goes in the end, and neither does a sudden one that costs less than the tolerance.

    >>> test = LossDriftDetector(tolerance=0.5)
    >>> labels = np.tile(np.array([1, 0], np.float32), 1_500)
    >>> test.add(labels, np.where(labels > 0, 0.8, 0.2).astype(np.float32))
    False
    >>> test.add(1 - labels, np.where(labels > 0, 0.8, 0.2).astype(np.float32))
    True
    >>> print(test)
    log loss 1.609 over 3000 examples, 0.223 before
    """

    def __init__(self, tolerance: float, label_delay_ms: int = 0) -> None:
        self._tolerance = tolerance
        self.label_delay_ms = label_delay_ms
        self._reference: Doubles = np.zeros(4)
        self._excursion: Doubles = np.zeros(4)
        self._waiting: Doubles = np.zeros(4)
        self._run, self._run_since_ms, self._now_ms = 0, 0, 0

    def __str__(self) -> str:
        examples, loss = self._excursion[:2]
        before = self._reference[1] / self._reference[0]
        return f"log loss {loss / examples:.3f} over {examples:.0f} examples, {before:.3f} before"

    @property
    def at_rest(self) -> bool:
        """Whether nothing speaks against the weights that gave the last scores."""
        return bool(self._excursion[0] == 0.0 and self._waiting[0] == 0.0)

    def add(self, labels: Floats, scores: Floats, at_ms: int = 0) -> bool:
        """Judge examples, float32[n] each; True when the loss has become worse for certain.

        `at_ms` is the event time of the newest label that is known.
        """
        self._take(labels, scores, at_ms)
        known = self._reference[0] >= WARM_UP and self._excursion[0] > 0
        excess = self._excess() if known else 0.0
        if excess > 0.0 and excess > self._threshold():
            return True
        if excess <= 0.0 or self._excursion[0] >= HORIZON:
            fade = math.exp(-float(self._excursion[0]) / HORIZON)
            self._reference = self._reference * fade + self._excursion
            self._excursion = np.zeros(4)
        return False

    def forget(self) -> None:
        """Drop the excursion, and what waits: what they were made of was not learned."""
        self._excursion, self._waiting, self._run = np.zeros(4), np.zeros(4), 0

    def start_over(self) -> None:
        """Drop the reference, too: what is normal is to be found out anew."""
        self._reference = np.zeros(4)
        self.forget()

    def state(self) -> list[float]:
        """What a checkpoint keeps."""
        sums = np.concatenate((self._reference, self._excursion, self._waiting))
        return [*sums.tolist(), self._run, self._run_since_ms, self._now_ms]

    def restore(self, state: Sequence[float]) -> None:
        """Go on from what `state` gave."""
        sums = np.array(state[:12])
        self._reference, self._excursion, self._waiting = sums[:4], sums[4:8], sums[8:]
        self._run, self._run_since_ms, self._now_ms = map(int, state[12:])

    def _take(self, labels: Floats, scores: Floats, at_ms: int) -> None:
        self._now_ms = max(self._now_ms, at_ms)
        if not self._run:
            self._run_since_ms = self._now_ms
        overdue = self._now_ms - self._run_since_ms >= self.label_delay_ms
        limit = NO_LIMIT if overdue else self._longest_run()
        sums, self._run, ended = _totals(labels, scores, self._run, limit)
        if overdue:
            self._excursion += self._waiting
        if overdue or ended:
            self._waiting = np.zeros(4)
        if ended:
            self._run_since_ms = self._now_ms
        self._excursion += sums[0]
        self._waiting += sums[1]

    def _longest_run(self) -> int:
        """So many positives in a row may be chance; before the first negative there is none."""
        examples, _, _, positives = self._reference
        if examples == 0:
            return 0
        if examples < WARM_UP or positives >= examples:
            return NO_LIMIT
        rate = max(float(positives / examples), LEAST_PROBABILITY)
        return math.ceil(math.log(_FALSE_ALARM) / math.log(rate))

    def _excess(self) -> float:
        """By how much the excursion's loss is beyond what is allowed, summed (nats)."""
        examples, loss, _, positives = self._excursion
        count, before, _, positives_before = self._reference
        harder = _entropy(positives / examples) / _entropy(positives_before / count)
        allowed = (1.0 + self._tolerance) * before / count * max(1.0, harder)
        return float(loss - examples * allowed)

    def _threshold(self) -> float:
        count, loss, squares, _ = self._reference
        mean = loss / count
        variance = squares / count - mean * mean
        evidence = -math.log(_FALSE_ALARM) * _TOGETHER * variance
        return max(_LEAST_EVIDENCE, float(evidence / (2.0 * self._tolerance * mean)))


def _entropy(rate: float) -> float:
    """Of a label that is positive at `rate` (nats)."""
    rate = min(max(float(rate), LEAST_PROBABILITY), 1.0 - LEAST_PROBABILITY)
    return -rate * math.log(rate) - (1.0 - rate) * math.log(1.0 - rate)
