"""The states of a copy of the weights, and what leads from one to the next."""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum


class FollowerState(Enum):
    """How the weights held relate to the learner's."""

    FOLLOWING = "following"
    """They are the learner's, of the newest version that is known (or none has come yet)."""
    HOLDING = "holding"
    """They are of an earlier epoch: the learner has restarted and has learned less so far."""
    DIFFERING = "differing"
    """They differ from the learner's; the next poll asks for a snapshot."""
    DIFFERING_HELD = "differing, held"
    """They differ, and the learner has restarted and has learned less so far."""


class FollowerEvent(Enum):
    """What becomes of an answer of the learner."""

    APPLIED = "applied"
    """Its deltas led on from the weights held."""
    REPLACED = "replaced"
    """Its snapshot replaced weights that differed."""
    HELD = "held"
    """It was of a new epoch that has learned less than the weights held."""
    CAUGHT_UP = "caught up"
    """The new epoch contains all that the weights held contain; a snapshot of it is asked for."""
    MISMATCH = "mismatch"
    """It did not give the learner's weights, or the weights held were damaged."""


TRANSITIONS: Mapping[FollowerState, Mapping[FollowerEvent, FollowerState]] = {
    FollowerState.FOLLOWING: {
        FollowerEvent.APPLIED: FollowerState.FOLLOWING,
        FollowerEvent.HELD: FollowerState.HOLDING,
        # Deltas of a new epoch that lead on from none of ours, and contain as much.
        FollowerEvent.CAUGHT_UP: FollowerState.HOLDING,
        FollowerEvent.MISMATCH: FollowerState.DIFFERING,
    },
    FollowerState.HOLDING: {
        FollowerEvent.APPLIED: FollowerState.FOLLOWING,
        FollowerEvent.HELD: FollowerState.HOLDING,
        FollowerEvent.CAUGHT_UP: FollowerState.HOLDING,
        FollowerEvent.MISMATCH: FollowerState.DIFFERING,
    },
    FollowerState.DIFFERING: {
        FollowerEvent.REPLACED: FollowerState.FOLLOWING,
        FollowerEvent.HELD: FollowerState.DIFFERING_HELD,
        FollowerEvent.CAUGHT_UP: FollowerState.DIFFERING_HELD,
        FollowerEvent.MISMATCH: FollowerState.DIFFERING,
    },
    FollowerState.DIFFERING_HELD: {
        FollowerEvent.REPLACED: FollowerState.FOLLOWING,
        FollowerEvent.HELD: FollowerState.DIFFERING_HELD,
        FollowerEvent.CAUGHT_UP: FollowerState.DIFFERING_HELD,
        FollowerEvent.MISMATCH: FollowerState.DIFFERING,
    },
}
"""The next state. Weights that differ are replaced by a snapshot; no delta is applied to them."""
