"""The protocols of a follower: the source of the learner's deltas, and the weights they change."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from freshrank.actors.messages import Delta, Version


class ParameterSource(Protocol):
    """The learner, as a follower of its weights sees it."""

    async def newer_than(
        self, version: Version | None, timeout_s: float, refused: Version | None = None
    ) -> list[Delta]:
        """The deltas that lead from `version` to the newest version, in order.

        The first is a snapshot when `version` is None, of another epoch or older than the log.
        Empty when no newer version appeared within `timeout_s`. Raises Unavailable.

        `refused` is the newest version of the last answer, if that did not lead to the learner's
        weights: this answer then begins with a newer snapshot, made if need be.
        """
        ...


class Weights(Protocol):
    """A copy of the learner's weights, to which deltas are applied."""

    @property
    def version(self) -> Version | None:
        """None before the first snapshot."""
        ...

    def apply(self, delta: Delta) -> None:
        """Apply a delta as a whole.

        Raises ProgressError if it does not continue from `version`, and ChecksumMismatch if it
        would not lead to the learner's weights; the weights are unchanged then.
        """
        ...

    def replace(self, deltas: Sequence[Delta]) -> None:
        """Replace all weights by a snapshot and the deltas that follow it, as a whole.

        Raises as `apply`, and ProgressError where this would lead to an older version.
        """
        ...

    @property
    def expected_checksum(self) -> str:
        """The checksum that the last delta declares."""
        ...

    def checksum(self) -> str:
        """The checksum of the weights, computed over all of them: takes up to seconds."""
        ...
