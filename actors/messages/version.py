"""Versions of the weights."""

from __future__ import annotations

from typing import NamedTuple


class Version(NamedTuple):
    """A version of the weights; a later version is greater.

    `epoch` grows by 1 with each start of a learner, `step` by 1 with each of its optimiser steps.

    >>> Version(1, 9) < Version(2, 0)
    True
    >>> str(Version(1, 9)), Version.parse("1.9")
    ('1.9', Version(epoch=1, step=9))
    """

    epoch: int
    step: int

    def __str__(self) -> str:
        return f"{self.epoch}.{self.step}"

    @classmethod
    def parse(cls, text: str) -> Version:
        """Read the form that `str` writes; raises ValueError on anything else."""
        epoch, step = text.split(".")
        return cls(int(epoch), int(step))
