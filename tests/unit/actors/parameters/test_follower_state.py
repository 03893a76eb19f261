"""The states of a follower: the table is whole, and the follower goes through them."""

from __future__ import annotations

import asyncio
from itertools import product

import pytest
from fake_clock import FakeClock
from learning import NO_DENSE, delta
from source_offsets import upto

from freshrank.actors.errors import ChecksumMismatch, IllegalTransition
from freshrank.actors.messages import Delta, SourceOffsets, Version
from freshrank.actors.parameters.follower import Follower
from freshrank.actors.parameters.follower_state import TRANSITIONS, FollowerEvent, FollowerState
from freshrank.actors.transitions import next_state
from freshrank.learner.models.logistic_regression import LogisticRegression
from freshrank.learner.parameters.weights import ModelWeights

NOT_LISTED = [
    (state, event)
    for state, event in product(FollowerState, FollowerEvent)
    if event not in TRANSITIONS[state]
]


class Scripted:
    """Gives the next of its answers to each poll."""

    def __init__(self) -> None:
        self.answers: list[list[Delta]] = []

    async def newer_than(
        self, version: Version | None, timeout_s: float, refused: Version | None = None
    ) -> list[Delta]:
        return self.answers.pop(0)


def whole(epoch: int, step: int, applied: SourceOffsets, checksum: str | None = None) -> Delta:
    return delta(Version(epoch, step), None, applied={0: applied}, checksum=checksum)


def on(epoch: int, step: int, applied: SourceOffsets, checksum: str | None = None) -> Delta:
    base = Version(epoch, step - 1)
    return delta(Version(epoch, step), base, applied={0: applied}, checksum=checksum)


def test_weights_that_differ_are_replaced_and_no_others() -> None:
    assert NOT_LISTED == [
        (FollowerState.FOLLOWING, FollowerEvent.REPLACED),
        (FollowerState.HOLDING, FollowerEvent.REPLACED),
        (FollowerState.DIFFERING, FollowerEvent.APPLIED),
        (FollowerState.DIFFERING_HELD, FollowerEvent.APPLIED),
    ]


@pytest.mark.parametrize(("state", "event"), NOT_LISTED)
def test_what_the_table_does_not_list_is_an_error(
    state: FollowerState, event: FollowerEvent
) -> None:
    with pytest.raises(IllegalTransition, match=f"{event} cannot happen in {state}"):
        next_state(TRANSITIONS, state, event)


def test_a_follower_goes_through_its_states() -> None:
    source = Scripted()
    weights = ModelWeights(LogisticRegression().bind(NO_DENSE))
    follower = Follower(source, weights, FakeClock(), hold_epochs=True)
    seen = []
    wrong = "0" * 16
    for answer in (
        [whole(1, 0, upto(9))],
        [whole(2, 0, upto(4))],  # a learner that restarted and has learned less
        [on(2, 1, upto(9))],  # it has caught up
        [whole(2, 1, upto(9))],
        [on(2, 2, upto(10), wrong)],
        [whole(3, 0, upto(5))],  # another restart before the repair
        [on(3, 1, upto(6), wrong)],  # of weights that are not taken, so nobody sees it
        [on(3, 2, upto(9))],
        [whole(3, 2, upto(9), wrong)],
        [whole(3, 2, upto(9))],
    ):
        source.answers = [answer]
        try:
            asyncio.run(follower.step(0.0))
        except ChecksumMismatch:
            seen.append("mismatch")
        seen.append(follower.state.value)
    assert seen == [
        "following", "holding", "holding", "following", "mismatch", "differing",
        "differing, held", "differing, held", "differing, held", "mismatch", "differing",
        "following",
    ]  # fmt: skip
