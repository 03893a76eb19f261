"""Examples of a range learned in their order, on a copy of the weights that they touch.

What is learned from examples must not depend on how many come at once. A gradient whose examples
were all differentiated at the same weights says the same thing as many times as there are examples:
a user's fifty ratings in a row, or the base rate that a young model does not know yet. Steps of a
single example each correct what earlier steps have left. So the examples are learned here as they
come, by the learner's own optimiser, on copies of the rows; the gradient that is sent is the sum
over examples, each differentiated at weights that have learned the earlier examples (importance
weight aware, as Karampatziakis and Langford, UAI 2011, by their order instead of in closed form).

Where examples tell each other little, which is the rule for a model that has learned for a while,
they are taken at once: how long a part may be is measured, not set.
"""

from __future__ import annotations

import numpy as np

from freshrank.actors.kernels.compile import kernel
from freshrank.actors.messages import Floats

# A part that takes back more than this share of the decrease that it promises is learned in
# shorter parts: few steps of a model that has learned for a while need that.
_MOST = 0.15
# Down to so few examples, which are halved only where they go beyond the minimum; more where the
# dense weights are so many that their own work, which is done once a part, outweighs that.
_FEWEST, _FEWEST_OF_MANY, _WEIGHTS_OF_ONE = 4, 32, 512
# An error of this share of the residuals is no reason to halve a part that promises nothing.
_NOISE = 1.0 / 16.0
# The share of the way to the minimum that a single example takes at most.
ENOUGH = 0.8


class PartLengths:
    """How many examples are learned at once: all, or as few as their overshoot asks for.

    A model that knows nothing begins with one example.

    Parameters
    ----------
    examples, dense_size
        All examples, and the dense weights of the model.
    young
        Whether it has learned nothing.

    >>> lengths = PartLengths(64, dense_size=5, young=False)
    >>> lengths.accepts(64, overshoot=0.5), lengths.next
    (False, 4)
    >>> lengths.accepts(4, overshoot=0.05), lengths.next
    (True, 8)
    """

    def __init__(self, examples: int, dense_size: int, *, young: bool) -> None:
        self._all = examples
        self._fewest = min(max(dense_size // _WEIGHTS_OF_ONE, _FEWEST), _FEWEST_OF_MANY)
        self.next = 1 if young else examples

    def accepts(self, length: int, overshoot: float) -> bool:
        """Whether a part is kept; sets the length of the next try."""
        if length > 1 and overshoot > (_MOST if length > self._fewest else 1.0):
            half = length // 2
            self.next = min(self._fewest, half) if length == self._all else half
            return False
        if overshoot <= _MOST / 2.0:
            self.next = 2 * max(self.next, length)
        elif overshoot <= _MOST:
            self.next = max(self.next, self._fewest)
        return True


@kernel
def overshoot_of(moved: Floats, before: Floats, after: Floats) -> float:
    """`overshoot` of arrays with one axis."""
    turned, promised, squares = 0.0, 0.0, 0.0
    for i in range(len(moved)):
        wide, residual = np.float64(moved[i]), np.float64(before[i])
        turned += wide * np.float64(after[i] - before[i])
        promised -= wide * residual
        squares += residual * residual
    return float(turned / max(promised, _NOISE * squares, 1e-12))


def overshoot(moved: Floats, before: Floats, after: Floats) -> float:
    """The share of the decrease that a part promises which it takes back by going far.

    `moved` are the changes of its outputs, `before` and `after` the residuals of its examples.
    1: it ends at the minimum of the loss along its way (`StepBound`).

    >>> moved, before, after = (np.array([x], np.float32) for x in (-0.5, 0.5, 0.25))
    >>> overshoot(moved, before, after).__round__(2)
    0.5
    """
    return overshoot_of(moved.ravel(), before.ravel(), after.ravel())
