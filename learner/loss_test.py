"""Whether the log loss has become worse than before, decided as soon as the evidence allows."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from freshrank.actors.compiled import kernel
from freshrank.actors.messages import Doubles, Floats
from freshrank.learner.validation import LEAST_PROBABILITY

# Examples over which the reference forgets: some minutes of a busy stream, so that it follows
# tastes; many more than a trip needs, so that what is bad is not taken for normal meanwhile.
HORIZON = 20_000
# Examples before anything is judged: at a click rate of 3 % sixty clicks, a loss known to 13 %.
WARM_UP = 2_000
# Of one excursion, were there no change: even at a thousand a second, one in thirty years.
_FALSE_ALARM = 1e-9
# Examples of one user come together: as if only each fourth were independent of the others.
_TOGETHER = 4.0
# Nats. A model that is nearly always certain has next to no variance; three or four certain
# mistakes (16 nats each, see `validation`) are still no reason to go back.
_LEAST_EVIDENCE = 60.0


@kernel
def _totals(labels: Floats, scores: Floats) -> Doubles:
    """(examples, log loss, its square, positives), summed."""
    out = np.zeros(4)
    for i in range(len(labels)):
        likelihood = np.float64(scores[i]) if labels[i] > 0.5 else 1.0 - np.float64(scores[i])
        loss = -np.log(max(likelihood, LEAST_PROBABILITY))
        out[0] += 1.0
        out[1] += loss
        out[2] += loss * loss
        out[3] += labels[i]
    return out


class LossTest:
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

    A change of the label rate alone is no reason: where positives become more frequent, the
    allowed loss grows with the entropy of the label (He et al., "Practical lessons from predicting
    clicks on ads at Facebook", 2014). So a slow drift of tastes never trips it, however far it
    goes in the end, and neither does a sudden one that costs less than the tolerance.

    >>> test, labels = LossTest(tolerance=0.5), np.tile(np.array([1, 0], np.float32), 1_500)
    >>> test.add(labels, np.where(labels > 0, 0.8, 0.2).astype(np.float32))
    False
    >>> test.add(1 - labels, np.where(labels > 0, 0.8, 0.2).astype(np.float32))
    True
    >>> print(test)
    log loss 1.609 over 3000 examples, 0.223 before
    """

    def __init__(self, tolerance: float) -> None:
        self._tolerance = tolerance
        self._reference: Doubles = np.zeros(4)
        self._excursion: Doubles = np.zeros(4)

    def __str__(self) -> str:
        examples, loss = self._excursion[:2]
        before = self._reference[1] / self._reference[0]
        return f"log loss {loss / examples:.3f} over {examples:.0f} examples, {before:.3f} before"

    @property
    def at_rest(self) -> bool:
        """Whether nothing speaks against the weights that gave the last scores."""
        return bool(self._excursion[0] == 0.0)

    def add(self, labels: Floats, scores: Floats) -> bool:
        """Judge examples, float32[n] each; True when the loss has become worse for certain."""
        self._excursion += _totals(labels, scores)
        excess = self._excess() if self._reference[0] >= WARM_UP else 0.0
        if excess > 0.0 and excess > self._threshold():
            return True
        if excess <= 0.0 or self._excursion[0] >= HORIZON:
            fade = math.exp(-float(self._excursion[0]) / HORIZON)
            self._reference = self._reference * fade + self._excursion
            self.forget()
        return False

    def forget(self) -> None:
        """Drop the excursion: what it was made of was not learned."""
        self._excursion = np.zeros(4)

    def start_over(self) -> None:
        """Drop the reference, too: what is normal is to be found out anew."""
        self._reference, self._excursion = np.zeros(4), np.zeros(4)

    def state(self) -> list[float]:
        """What a checkpoint keeps."""
        return [*self._reference.tolist(), *self._excursion.tolist()]

    def restore(self, state: Sequence[float]) -> None:
        """Go on from what `state` gave."""
        self._reference, self._excursion = np.array(state[:4]), np.array(state[4:])

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
