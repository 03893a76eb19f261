"""Pauses between retries of a service that does not answer."""

from __future__ import annotations

import random
from collections.abc import Callable

# Doublings after which every bound is reached: 2**16 times a millisecond is a minute.
_MOST_DOUBLINGS = 16


class Backoff:
    """Pauses that double up to a bound; half of each is random.

    So a service that comes back is not asked by all its clients at the same instant ("equal
    jitter", Brooker, "Exponential Backoff And Jitter", AWS Architecture Blog 2015).

    Parameters
    ----------
    first_s, longest_s
        Seconds: bounds of the first pause, and of every pause.
    random_share
        Gives random numbers in [0, 1).

    >>> pauses = Backoff(0.1, 1.0, random_share=lambda: 0.0)
    >>> [pauses.next_s() for _ in range(6)]
    [0.05, 0.1, 0.2, 0.4, 0.5, 0.5]
    >>> pauses.reset()
    >>> pauses.next_s()
    0.05
    """

    def __init__(
        self, first_s: float, longest_s: float, random_share: Callable[[], float] = random.random
    ) -> None:
        self._first_s = first_s
        self._longest_s = longest_s
        self._random_share = random_share
        self._failed = 0

    def next_s(self) -> float:
        """Seconds to wait after another failure."""
        most = min(self._longest_s, self._first_s * 2.0 ** min(self._failed, _MOST_DOUBLINGS))
        self._failed += 1
        return most * (0.5 + 0.5 * self._random_share())

    def reset(self) -> None:
        """Note a success: the next failure counts as the first."""
        self._failed = 0
