"""What a pipeline declares of an experiment: arms, their shares, and what each does differently."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from freshrank.actors.errors import ConfigError
from freshrank.serve.experiments.exploration import Exploration

MOST_ARMS = 20
"""Of one experiment."""
# Names become labels of metrics and parts of each impression.
_NAME = re.compile(r"[a-z][a-z0-9_-]{0,62}")
_VERSION = re.compile(r"[0-9]{1,18}\.[0-9]{1,18}")
# Shares are written as decimals, whose sum is not exact.
_ROUNDING = 1e-9


class NamedSource(Protocol):
    """A source of candidates, as far as an arm refers to it."""

    @property
    def name(self) -> str:
        """What answers and metrics call it."""
        ...


@dataclass(frozen=True)
class Arm:
    """One of the ways in which users of an experiment are answered.

    Parameters
    ----------
    name
        Lower-case letters, digits, ``_`` and ``-``.
    share
        Of all users, from above 0 to 1.
    candidates
        Those of the pipeline's sources that are asked; None: all.
    explore
        How lists explore: ``EpsilonGreedy(0.05)``, ``Softmax(0.02)`` or ``Thompson()``; None: they
        do not.
    pinned
        The version of the weights that score, such as ``"1.284"``, of which there is a checkpoint;
        None: those that follow the learner.
    """

    name: str
    share: float
    candidates: Sequence[NamedSource] | None = None
    explore: Exploration | None = None
    pinned: str | None = None

    def check(self, place: str) -> None:
        """Raise ConfigError for what cannot be used."""
        _check_name(self.name, place)
        if not isinstance(self.share, int | float) or not 0 < self.share <= 1:
            raise ConfigError(
                f"{place}.share",
                f"{self.share!r} is no share of the users",
                "Give a number above 0 and up to 1.",
            )
        if self.explore is not None and not isinstance(self.explore, Exploration):
            raise ConfigError(
                f"{place}.explore",
                f"{self.explore!r} is no exploration",
                "Write explore=EpsilonGreedy(0.05) or explore=Thompson(), or leave it out.",
            )
        pinned: object = self.pinned
        if pinned is not None and not (isinstance(pinned, str) and _VERSION.fullmatch(pinned)):
            raise ConfigError(
                f"{place}.pinned",
                f"{pinned!r} is no version of weights",
                'Write one like "1.284": `freshrank state inspect` names those of checkpoints.',
            )


@dataclass(frozen=True)
class Experiment:
    """Users in arms, by a hash of experiment and user: of each experiment independently.

    Parameters
    ----------
    name
        Another name is another assignment of users.
    arms
        The first is what the others are compared with. If shares sum up to less than 1, the
        remaining users are in no arm, and are answered as if there were no experiment.

    Raises ConfigError, which names the place and the fix, when the pipeline checks it.
    """

    name: str
    arms: Sequence[Arm]

    @property
    def of_candidates(self) -> bool:
        """Whether an arm restricts the sources, so that it is about retrieved candidates only."""
        return any(arm.candidates is not None for arm in self.arms)

    @property
    def pins(self) -> bool:
        """Whether an arm is pinned to weights of one version."""
        return any(arm.pinned is not None for arm in self.arms)

    @property
    def explores(self) -> bool:
        """Whether an arm explores."""
        return any(arm.explore is not None for arm in self.arms)

    def check(self, place: str) -> None:
        """Raise ConfigError for names, shares and arms that cannot be used."""
        _check_name(self.name, place)
        arms: object = self.arms
        if isinstance(arms, str) or not isinstance(arms, Sequence):
            raise ConfigError(f"{place}.arms", "no list of arms", 'Write arms=[Arm("control", …)].')
        if not 2 <= len(self.arms) <= MOST_ARMS:
            raise ConfigError(
                f"{place}.arms",
                f"there are {len(self.arms)}, which compare nothing",
                f"Declare from 2 to {MOST_ARMS} arms.",
            )
        for number, arm in enumerate(self.arms):
            if not isinstance(arm, Arm):
                raise ConfigError(
                    f"{place}.arms[{number}]",
                    f"{arm!r} is no arm",
                    'Write Arm("fresh", share=0.5).',
                )
            arm.check(f"{place}.arms[{number}]")
        names = [arm.name for arm in self.arms]
        for number, name in enumerate(names):
            if name in names[:number]:
                raise ConfigError(
                    f"{place}.arms[{number}].name", f"{name!r} is there already", "Rename it."
                )
        total = sum(arm.share for arm in self.arms)
        if total > 1 + _ROUNDING:
            raise ConfigError(
                f"{place}.arms",
                f"the shares sum up to {total:g}",
                "Let them sum up to 1, or to less for users in no arm.",
            )


def _check_name(name: object, place: str) -> None:
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise ConfigError(
            f"{place}.name",
            f"{name!r} cannot become a label of metrics",
            "Use lower-case letters, digits, _ and -, beginning with a letter.",
        )
