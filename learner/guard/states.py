"""What the guard makes of the loss, as states, and the one table of their transitions."""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum


class GuardState(Enum):
    """What the guard makes of the loss."""

    WATCHING = "watching"
    """The loss is as it was, and what comes is learned."""
    ROLLBACK_DUE = "rollback due"
    """The loss has become worse: no gradient is learned before the rollback."""
    TRIAL = "trial"
    """The restored weights score what comes, which is held back."""
    RELEASE_DUE = "release due"
    """The restored weights are as good as before: harmless examples are to be learned again."""
    CHALLENGE_DUE = "challenge due"
    """They are not: a challenger is to learn all that is held back."""
    CHALLENGE = "challenge"
    """The challenger is the model, learns what comes, and is compared with the restored weights."""
    REJECTION_DUE = "rejection due"
    """The challenger is no better: the restored weights are due again."""
    REJOIN_DUE = "rejoin due"
    """An isolated partition is well again: what was held back of it since then is to be learned."""
    RESET_DUE = "reset due"
    """The weights are worse than the base rate: they are to begin again."""


class GuardEvent(Enum):
    """What happens to the guard."""

    SCORED = "scored"
    """An offset range was scored, and is to be learned."""
    STEPPED = "stepped"
    """A step was published."""
    LOSS_WORSE = "loss worse"
    """The loss has certainly become worse."""
    ROLLED_BACK = "rolled back"
    """All steps that were not validated were undone, and what they learned is held back."""
    HELD_BACK = "held back"
    """An offset range was scored by the restored weights, and is held back."""
    LOSS_NORMAL = "loss normal"
    """The loss of the restored weights has been normal for `VALIDATION_EXAMPLES`."""
    LOSS_STILL_WORSE = "loss still worse"
    """The loss of the restored weights is worse over `trial_examples`, too."""
    RELEASED = "released"
    """The harmless examples were learned, and the others quarantined."""
    CHALLENGED = "challenged"
    """All that was held back was learned."""
    CHALLENGER_BETTER = "challenger better"
    """The challenger has scored `VALIDATION_EXAMPLES` better than the restored weights."""
    CHALLENGER_WORSE = "challenger worse"
    """It has not."""
    PARTITION_WELL = "partition well"
    """The loss of an isolated partition is normal again."""
    REJOINED = "rejoined"
    """What was held back of it was learned."""
    WEIGHTS_BROKEN = "weights broken"
    """The weights predict worse than the base rate does, and do not become better."""
    RESET = "reset"
    """The weights are as before the first step."""


_State, _Event = GuardState, GuardEvent
TRANSITIONS: Mapping[GuardState, Mapping[GuardEvent, GuardState]] = {
    _State.WATCHING: {
        _Event.SCORED: _State.WATCHING,
        _Event.STEPPED: _State.WATCHING,
        _Event.LOSS_WORSE: _State.ROLLBACK_DUE,
        _Event.PARTITION_WELL: _State.REJOIN_DUE,
        _Event.WEIGHTS_BROKEN: _State.RESET_DUE,
    },
    _State.ROLLBACK_DUE: {_Event.ROLLED_BACK: _State.TRIAL},
    _State.TRIAL: {
        _Event.HELD_BACK: _State.TRIAL,
        _Event.LOSS_NORMAL: _State.RELEASE_DUE,
        _Event.LOSS_STILL_WORSE: _State.CHALLENGE_DUE,
    },
    _State.RELEASE_DUE: {_Event.RELEASED: _State.WATCHING},
    _State.CHALLENGE_DUE: {_Event.CHALLENGED: _State.CHALLENGE},
    _State.CHALLENGE: {
        _Event.SCORED: _State.CHALLENGE,
        _Event.STEPPED: _State.CHALLENGE,
        _Event.CHALLENGER_BETTER: _State.WATCHING,
        _Event.CHALLENGER_WORSE: _State.REJECTION_DUE,
    },
    _State.REJECTION_DUE: {_Event.ROLLED_BACK: _State.TRIAL},
    _State.REJOIN_DUE: {_Event.REJOINED: _State.WATCHING},
    _State.RESET_DUE: {_Event.RESET: _State.WATCHING},
}
"""The next state of the guard. An event that is not listed is an error."""

DUE = frozenset(
    {
        GuardState.ROLLBACK_DUE,
        GuardState.RELEASE_DUE,
        GuardState.CHALLENGE_DUE,
        GuardState.REJECTION_DUE,
        GuardState.REJOIN_DUE,
        GuardState.RESET_DUE,
    }
)
"""States in which the learner takes no gradient before it has done what is due."""
