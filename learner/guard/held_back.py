"""Gradients that are neither learned nor refused yet."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from freshrank.actors.messages import Gradient


@dataclass(slots=True)
class HeldBack:
    """A gradient that waits for the guard's verdict."""

    gradient: Gradient
    suspicion: str = ""
    """Why it may be harmful; empty when nothing speaks against it."""
    of_restored: bool = False
    """Whether the weights that a rollback restored have given it, as they have all others."""


def examples_of(held: Iterable[HeldBack]) -> int:
    """How many examples the gradients have."""
    return sum(len(one.gradient) for one in held)
