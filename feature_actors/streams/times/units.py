"""The units of event times that are integers."""

from __future__ import annotations

from enum import StrEnum

import numpy as np

from freshrank.actors.messages import Ints

_LONGEST = 2**63 - 1


class TimeUnit(StrEnum):
    """The unit of an integer time since the Unix epoch; the value is what a stream declares."""

    SECONDS = "s"
    MILLISECONDS = "ms"
    MICROSECONDS = "us"
    NANOSECONDS = "ns"

    @property
    def per_second(self) -> int:
        """How many of them a second has."""
        return _PER_SECOND[self]

    @property
    def word(self) -> str:
        """Its name in a sentence."""
        return self.name.lower()

    def conversion_to(self, wanted: TimeUnit) -> str:
        """What makes a time in this unit one in another.

        >>> TimeUnit.SECONDS.conversion_to(TimeUnit.MILLISECONDS)
        'multiply by 1000'
        """
        if wanted.per_second > self.per_second:
            return f"multiply by {wanted.per_second // self.per_second}"
        return f"divide by {self.per_second // wanted.per_second}"

    def to_ms(self, times: Ints) -> Ints:
        """int64[n]: times in this unit as milliseconds, rounded down.

        Times that are too large for 64 bits become the largest that is not.

        >>> TimeUnit.SECONDS.to_ms(np.array([5])), TimeUnit.MICROSECONDS.to_ms(np.array([5_999]))
        (array([5000]), array([5]))
        """
        if self is TimeUnit.MILLISECONDS:
            return times
        if self is TimeUnit.SECONDS:
            return np.minimum(times, _LONGEST // 1000) * 1000
        return times // (self.per_second // 1000)


_PER_SECOND = {
    TimeUnit.SECONDS: 1,
    TimeUnit.MILLISECONDS: 1_000,
    TimeUnit.MICROSECONDS: 1_000_000,
    TimeUnit.NANOSECONDS: 1_000_000_000,
}
