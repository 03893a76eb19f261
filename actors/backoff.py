"""Pauses between two tries of what is away."""

from __future__ import annotations

import random
from collections.abc import Callable

# Doublings after which every bound is reached: 2**16 times a millisecond is a minute.
_MOST_DOUBLINGS = 16


class Backoff:
    """Each pause up to twice as long as the one before, up to a bound; half of it left to chance.

    So whatever comes back is not asked by everybody at the same instant ("equal jitter", Brooker,
    "Exponential Backoff And Jitter", AWS Architecture Blog 2015).

    Parameters
    ----------
    first_s, longest_s
        Seconds: the first pause at most, and any.
    chance
        Gives numbers in [0, 1).

    >>> pauses = Backoff(0.1, 1.0, chance=lambda: 0.0)
    >>> [pauses.next_s() for _ in range(6)]
    [0.05, 0.1, 0.2, 0.4, 0.5, 0.5]
    >>> pauses.reset()
    >>> pauses.next_s()
    0.05
    """

    def __init__(
        self, first_s: float, longest_s: float, chance: Callable[[], float] = random.random
    ) -> None:
        self._first_s = first_s
        self._longest_s = longest_s
        self._chance = chance
        self._failed = 0

    def next_s(self) -> float:
        """How long to wait, in seconds, after one more failure."""
        most = min(self._longest_s, self._first_s * 2.0 ** min(self._failed, _MOST_DOUBLINGS))
        self._failed += 1
        return most * (0.5 + 0.5 * self._chance())

    def reset(self) -> None:
        """It has answered: the next failure is the first again."""
        self._failed = 0
