"""A step that can be undone, and a rollback of several."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

from freshrank.actors.messages import Gradient, OffsetRange, Version
from freshrank.learner.guard.held_back import HeldBack
from freshrank.learner.parameters.training_state import Change


@dataclass(slots=True)
class Step:
    """A published step that can still be undone."""

    base: Version
    version: Version
    """What it was published as."""
    ranges: list[OffsetRange]
    """The offset ranges that it learned from."""
    examples: int
    """Examples in those ranges."""
    change: Change
    """What undoes it."""
    gradients: list[Gradient] = field(default_factory=list)
    """What it learned, to be learned again; empty when a checkpoint of before did not keep it."""
    scored: int = 0
    """Examples that weights of which it is the newest step have scored so far."""
    relearned: bool = False
    """Whether it had been held back before: a second rollback makes it a suspect."""


class Rollback(NamedTuple):
    """What a rollback undoes, and what it refuses for good."""

    steps: list[Step]
    """To undo, oldest first."""
    refused: list[HeldBack]
    """Not to be learned, with the reason; empty where all is held back."""
    forgotten: list[Step]
    """Of the steps those whose gradients a checkpoint of before did not keep."""
    reason: str
    """The loss, and what it was before."""
