"""The states of the guard, and what cannot happen in them."""

from __future__ import annotations

import pytest
from guarded_run import BATCH, GuardedRun, flipped
from learning import NO_DENSE, examples

from freshrank.actors.errors import IllegalTransition
from freshrank.actors.messages import Version
from freshrank.learner.guard.rollback import VALIDATION_EXAMPLES
from freshrank.learner.guard.states import TRANSITIONS, GuardEvent, GuardState
from freshrank.learner.guard.undo.step import Step
from freshrank.learner.parameters.gradient_sum import total


def test_the_table_of_transitions_is_whole_and_every_state_is_reached() -> None:
    assert set(TRANSITIONS) == set(GuardState)
    assert {event for row in TRANSITIONS.values() for event in row} == set(GuardEvent)
    reached = {
        after for before, row in TRANSITIONS.items() for after in row.values() if after != before
    }
    assert reached == set(GuardState)


def test_a_rollback_leads_by_way_of_a_trial_back_to_watching() -> None:
    run = GuardedRun()
    run.feed(60)
    log, states = run.learner.rollback_log, [run.learner.rollback_log.state]
    work = flipped(examples(NO_DENSE, BATCH, begin=BATCH * run.number, seed=run.number))
    run.number += 1
    run.learner.offer(run.shard.gradient(work), 0.0)
    states.append(log.state)
    delta = run.learner.step(0, 0.0)
    assert delta is not None
    run.take(delta)
    for _ in range(VALIDATION_EXAMPLES // BATCH):
        states.append(log.state)
        run.feed(1)
    states.append(log.state)
    watching, due, trial = GuardState.WATCHING, GuardState.ROLLBACK_DUE, GuardState.TRIAL
    trials = [trial] * (VALIDATION_EXAMPLES // BATCH)
    assert states == [watching, due, *trials, watching]


def test_what_cannot_happen_in_a_state_is_an_error_and_changes_nothing() -> None:
    run = GuardedRun()
    run.feed(60)
    log = run.learner.rollback_log
    work = examples(NO_DENSE, BATCH, begin=BATCH * run.number, seed=run.number)
    gradient = run.shard.gradient(flipped(work))
    before = log.meta()
    with pytest.raises(
        IllegalTransition, match=r"ROLLED_BACK cannot happen in GuardState\.WATCHING"
    ):
        log.rollback()
    assert (log.state, log.meta()) == (GuardState.WATCHING, before)
    assert log.check_loss(gradient) is GuardEvent.LOSS_WORSE
    before = log.meta()
    change, _ = run.learner.trained.update(total([gradient]))
    step = Step(run.learner.version, Version(1, 99), [gradient.offset_range], BATCH, change)
    for illegal in (lambda: log.check_loss(gradient), lambda: log.add(step)):
        with pytest.raises(IllegalTransition, match=r"cannot happen in GuardState\.ROLLBACK_DUE"):
            illegal()
        assert (log.state, log.meta()) == (GuardState.ROLLBACK_DUE, before)
