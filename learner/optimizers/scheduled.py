"""What the optimisers have in common: a rate that may follow a schedule, and penalties."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import Field, dataclass, field, fields
from typing import Any, Self

from freshrank.learner.optimizers.base import Optimizer, check_at_least
from freshrank.learner.optimizers.penalties import Penalty
from freshrank.learner.optimizers.schedules import ConstantRate, Schedule, check_schedule

# A rate is never 0: FTRL divides by its own.
_LEAST_FACTOR = 1e-9


@dataclass(frozen=True, repr=False)
class ScheduledOptimizer(ABC):
    """Derive an `Optimizer` from it to give it a schedule; a frozen dataclass with ``repr=False``.

    Its state is columns with one for each weight, in the order of these, and behind all of them
    those of the row: so it is kept where the inputs of a model change (`state_columns`).

    Parameters
    ----------
    schedule
        How the rate follows the number of examples that the weights have learned.
    dense_l1, dense_l2
        Penalties of the dense weights but the first, which is the bias of a model.
    """

    schedule: Schedule = field(default=ConstantRate(), kw_only=True)
    dense_l1: float = field(default=0.0, kw_only=True)
    dense_l2: float = field(default=0.0, kw_only=True)

    def __post_init__(self) -> None:
        name = type(self).__name__
        check_schedule(f"{name}.schedule", self.schedule)
        for penalty in ("dense_l1", "dense_l2", *_ROW_PENALTIES):
            check_at_least(f"{name}.{penalty}", getattr(self, penalty, 0.0), 0.0, strictly=False)

    def __repr__(self) -> str:
        """As a dataclass's, without what is given by name and has its default.

        The fingerprint of checkpoints is made of it, and those from before there was such a
        field stay readable.
        """
        named = [one.name for one in fields(self) if not one.kw_only]
        named += [one.name for one in fields(self) if one.kw_only and self._differs(one)]
        shown = ", ".join(f"{name}={getattr(self, name)!r}" for name in named)
        return f"{type(self).__qualname__}({shown})"

    def _differs(self, one: Field[Any]) -> bool:
        return bool(getattr(self, one.name) != one.default)

    @property
    def moves(self) -> bool:
        """Whether the rate is not the same all the time."""
        return not isinstance(self.schedule, ConstantRate)

    def at(self, examples: float) -> Self:
        """The optimiser with the rate that holds once `examples` are learned."""
        return self.with_rate_of(max(self.schedule.factor(examples), _LEAST_FACTOR))

    def penalty(self, *, dense: bool) -> Penalty:
        """Of the dense weights, or of the table's rows (`l1` and `l2`, where it has them)."""
        if dense:
            return Penalty(self.dense_l1, self.dense_l2, 1)
        l1, l2 = (float(getattr(self, name, 0.0)) for name in _ROW_PENALTIES)
        return Penalty(l1, l2, 0)

    @abstractmethod
    def with_rate_of(self, factor: float) -> Self:
        """The same with its rate multiplied by `factor`, which is more than 0."""


_ROW_PENALTIES = ("l1", "l2")


@dataclass(frozen=True, repr=False)
class PenalizedOptimizer(ScheduledOptimizer):
    """One whose penalties are those of each example: ``loss + l1 |w| + l2 w² / 2``.

    A row of the table is pulled by the examples that have its id.

    Parameters
    ----------
    l1, l2
        Penalties of the table's rows. `l1` keeps the weights of ids that tell little at zero.
    """

    l1: float = field(default=0.0, kw_only=True)
    l2: float = field(default=0.0, kw_only=True)


def as_of(optimizer: Optimizer, examples: float) -> Optimizer:
    """The optimiser with the rate that holds once `examples` are learned."""
    if isinstance(optimizer, ScheduledOptimizer) and optimizer.moves:
        return optimizer.at(examples)
    return optimizer
