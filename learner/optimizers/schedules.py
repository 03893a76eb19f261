"""Schedules: how the rate of an optimiser follows the number of examples that were learned.

They count examples and not steps, whose size depends on how the examples happen to arrive.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

from freshrank.actors.errors import ConfigError
from freshrank.learner.optimizers.base import check_at_least


@runtime_checkable
class Schedule(Protocol):
    """The share of an optimiser's rate that holds once some examples are learned.

    A pipeline file may declare one of its own. Make it a frozen dataclass: its ``repr`` is a part
    of the fingerprint of checkpoints.
    """

    def factor(self, examples: float) -> float:
        """What the rate is multiplied by after `examples` (0 or more): 0 or more, and finite."""
        ...


def check_schedule(place: str, schedule: object) -> None:
    """Raise ConfigError at `place` unless `schedule` is a `Schedule`, and no class of them."""
    # Not `isinstance` of the protocol, which takes longer than the rest of making an optimiser: one
    # is made, and checked, for each part of a range whose rate is its own.
    if isinstance(schedule, type) or not callable(getattr(schedule, "factor", None)):
        raise ConfigError(
            place, f"{schedule!r} is no schedule", "Write one, such as CosineDecay(1_000_000)."
        )


@dataclass(frozen=True)
class ConstantRate:
    """The rate stays as it is. This is the default of every optimiser."""

    def factor(self, examples: float) -> float:
        """See `Schedule`."""
        return 1.0


@dataclass(frozen=True)
class StepDecay:
    """The rate falls to `share` of what it was after every `every` examples.

    >>> [StepDecay(every=1_000, share=0.5).factor(examples) for examples in (999, 1_000, 2_500)]
    [1.0, 0.5, 0.25]

    Parameters
    ----------
    every
        Examples.
    share
        More than 0, less than 1.
    least
        The factor below which the rate does not fall; more than 0.
    """

    every: float
    share: float = 0.5
    least: float = 0.01

    def __post_init__(self) -> None:
        check_at_least("StepDecay.every", self.every, 0.0, strictly=True)
        _check_share("StepDecay.share", self.share)
        _check_share("StepDecay.least", self.least)

    def factor(self, examples: float) -> float:
        """See `Schedule`."""
        return max(self.least, self.share ** math.floor(examples / self.every))


@dataclass(frozen=True)
class CosineDecay:
    """The rate falls along half a cosine, slowly at both ends, and stays at `least` afterwards.

    Loshchilov and Hutter, "SGDR: Stochastic Gradient Descent with Warm Restarts", ICLR 2017, with
    no restart.

    >>> decay = CosineDecay(examples=1_000, least=0.1)
    >>> [round(decay.factor(examples), 3) for examples in (0, 500, 1_000, 9_999)]
    [1.0, 0.55, 0.1, 0.1]

    Parameters
    ----------
    examples
        Over which it falls.
    least
        The factor that it falls to, more than 0: a stream has no end, so learning goes on.
    """

    examples: float
    least: float = 0.01

    def __post_init__(self) -> None:
        check_at_least("CosineDecay.examples", self.examples, 0.0, strictly=True)
        _check_share("CosineDecay.least", self.least)

    def factor(self, examples: float) -> float:
        """See `Schedule`."""
        way = min(1.0, examples / self.examples)
        return self.least + (1.0 - self.least) * 0.5 * (1.0 + math.cos(math.pi * way))


@dataclass(frozen=True)
class InverseRootDecay:
    """The rate falls with the root of the examples, to a half after three times `examples`.

    ``1 / sqrt(1 + n / examples)`` after ``n``. With such rates the loss of a convex model is, per
    example, in the end no greater than that of the best weights in hindsight (Zinkevich, "Online
    Convex Programming and Generalized Infinitesimal Gradient Ascent", ICML 2003). FTRL and Adagrad
    do so of themselves, weight by weight.

    >>> [InverseRootDecay(examples=1_000).factor(examples) for examples in (0, 3_000, 15_000)]
    [1.0, 0.5, 0.25]

    Parameters
    ----------
    examples
        After which the rate begins to fall noticeably.
    least
        The factor below which the rate does not fall; more than 0.
    """

    examples: float
    least: float = 0.01

    def __post_init__(self) -> None:
        check_at_least("InverseRootDecay.examples", self.examples, 0.0, strictly=True)
        _check_share("InverseRootDecay.least", self.least)

    def factor(self, examples: float) -> float:
        """See `Schedule`."""
        return max(self.least, 1.0 / math.sqrt(1.0 + examples / self.examples))


@dataclass(frozen=True)
class WarmUp:
    """The rate grows from 0 in proportion to the examples, and then follows another schedule.

    Goyal et al., "Accurate, Large Minibatch SGD: Training ImageNet in 1 Hour", 2017.

    >>> warm = WarmUp(examples=1_000, then=StepDecay(every=5_000))
    >>> [warm.factor(examples) for examples in (250, 1_000, 5_999, 6_000)]
    [0.25, 1.0, 1.0, 0.5]

    Parameters
    ----------
    examples
        Over which the rate grows.
    then
        Counts the examples from the end of the warm-up on.
    """

    examples: float
    then: Schedule = field(default=ConstantRate())

    def __post_init__(self) -> None:
        check_at_least("WarmUp.examples", self.examples, 0.0, strictly=True)
        check_schedule("WarmUp.then", self.then)

    def factor(self, examples: float) -> float:
        """See `Schedule`."""
        if examples < self.examples:
            return examples / self.examples
        return self.then.factor(examples - self.examples)


def _check_share(place: str, share: float) -> None:
    check_at_least(place, share, 0.0, strictly=True)
    if share >= 1.0:
        raise ConfigError(place, f"{share!r} lets the rate not fall", "Give less than 1.")
