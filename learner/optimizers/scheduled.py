"""What the optimisers have in common: a rate that may follow a schedule."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field, fields
from typing import Self

from freshrank.learner.optimizers.schedules import ConstantRate, Schedule, check_schedule

# A rate is never 0: FTRL divides by its own.
_LEAST_FACTOR = 1e-9


@dataclass(frozen=True, repr=False)
class ScheduledOptimizer(ABC):
    """Derive an `Optimizer` from it to give it a schedule; a frozen dataclass with ``repr=False``.

    Parameters
    ----------
    schedule
        How the rate follows the number of examples that the weights have learned.
    """

    schedule: Schedule = field(default=ConstantRate(), kw_only=True)

    def __post_init__(self) -> None:
        check_schedule(f"{type(self).__name__}.schedule", self.schedule)

    def __repr__(self) -> str:
        """As a dataclass's, with the schedule as its last field.

        A constant rate leaves no trace: the fingerprint of checkpoints is made of it, and those
        from before there were schedules stay readable.
        """
        names = [one.name for one in fields(self) if one.name != "schedule"]
        if self.moves:
            names.append("schedule")
        shown = ", ".join(f"{name}={getattr(self, name)!r}" for name in names)
        return f"{type(self).__qualname__}({shown})"

    @property
    def moves(self) -> bool:
        """Whether the rate is not the same all the time."""
        return not isinstance(self.schedule, ConstantRate)

    def at(self, examples: float) -> Self:
        """The optimiser with the rate that holds once `examples` are learned."""
        return self.with_rate_of(max(self.schedule.factor(examples), _LEAST_FACTOR))

    @abstractmethod
    def with_rate_of(self, factor: float) -> Self:
        """The same with its rate multiplied by `factor`, which is more than 0."""
