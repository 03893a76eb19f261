"""The states of a run, and what has to be stopped at its end."""

from __future__ import annotations

import pytest

from freshrank.actors.errors import ProgressError
from freshrank.deploy.commands.running.lifecycle import TRANSITIONS, Component, Lifecycle, RunState


def test_a_run_goes_through_its_states_in_order() -> None:
    lifecycle = Lifecycle()
    for state in list(RunState)[1:]:
        lifecycle.enter(state)
    assert lifecycle.state is RunState.STOPPED


@pytest.mark.parametrize("state", [RunState.PREPARING, RunState.STARTING, RunState.RUNNING])
def test_a_run_can_be_stopped_as_soon_as_something_has_been_started(state: RunState) -> None:
    assert RunState.STOPPING in TRANSITIONS[state]


def test_a_state_that_may_not_follow_is_refused_and_changes_nothing() -> None:
    lifecycle = Lifecycle()
    with pytest.raises(ProgressError, match="a run that is checking cannot be running next"):
        lifecycle.enter(RunState.RUNNING)
    assert lifecycle.state is RunState.CHECKING


def test_a_stopped_run_does_not_begin_again() -> None:
    assert not TRANSITIONS[RunState.STOPPED]


def test_only_components_that_have_started_must_be_stopped() -> None:
    lifecycle = Lifecycle()
    assert not any(lifecycle.must_stop(component) for component in Component)
    lifecycle.started(Component.ACTORS)
    lifecycle.started(Component.ACTORS)
    assert [one for one in Component if lifecycle.must_stop(one)] == [Component.ACTORS]
