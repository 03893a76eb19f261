"""The states of a copy of the weights, and the events that change them."""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum


class FollowerState(Enum):
    """How the weights held relate to the learner's."""

    FOLLOWING = "following"
    """They are the learner's, of the newest known version (or there are none yet)."""
    HOLDING = "holding"
    """They are of an earlier epoch: the learner has restarted and has learned less so far."""
    DIFFERING = "differing"
    """They differ from the learner's; the next poll asks for a snapshot."""
    DIFFERING_HELD = "differing, held"
    """They differ, and the learner has restarted and has learned less so far."""


class FollowerEvent(Enum):
    """The effect of a learner's answer on the copy."""

    APPLIED = "applied"
    """Its deltas led on from the weights held."""
    REPLACED = "replaced"
    """Its snapshot replaced weights that differed."""
    HELD = "held"
    """It was of a new epoch that has learned less than the weights held."""
    CAUGHT_UP = "caught up"
    """The new epoch contains all that the weights held contain; a snapshot of it is asked for."""
    MISMATCH = "mismatch"
    """It did not lead to the learner's weights, or the weights held were damaged."""


TRANSITIONS: Mapping[FollowerState, Mapping[FollowerEvent, FollowerState]] = {
    FollowerState.FOLLOWING: {
        FollowerEvent.APPLIED: FollowerState.FOLLOWING,
        FollowerEvent.HELD: FollowerState.HOLDING,
        # Deltas of a new epoch that contain as much, but do not lead on from the version held.
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
