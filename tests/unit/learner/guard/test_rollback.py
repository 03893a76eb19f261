"""The guard on a real learner: what it refuses, what it takes back, and that it goes on."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from guarded_run import BATCH, MODEL, GuardedRun, Spoil, as_it_is, flipped, holds
from learning import NO_DENSE, Files, examples
from source_offsets import upto

from freshrank.actors.alerts import AlertKind
from freshrank.actors.messages import Examples
from freshrank.learner import checkpoints
from freshrank.learner.core import Learner
from freshrank.learner.gradients.compiled import CompiledDifferentiator
from freshrank.learner.guard.quarantine import Refusal
from freshrank.learner.guard.rollback import VALIDATION_EXAMPLES
from freshrank.learner.guard.settings import GuardSettings
from freshrank.learner.guard.states import GuardState
from freshrank.learner.models.deepfm import DeepFM
from freshrank.learner.optimizers.adagrad import Adagrad
from freshrank.learner.optimizers.adam import Adam
from freshrank.learner.optimizers.base import Optimizer
from freshrank.learner.optimizers.ftrl import FTRL
from freshrank.learner.optimizers.schedules import StepDecay, WarmUp
from freshrank.learner.optimizers.sgd import SGD
from freshrank.learner.settings import LearnerSettings


@pytest.mark.parametrize("optimizer", [SGD(0.1), Adagrad(0.5), Adam(0.1), FTRL(0.2)], ids=repr)
def test_flipped_labels_are_taken_back_named_and_learning_goes_on(optimizer: Optimizer) -> None:
    run, undisturbed = GuardedRun(optimizer), GuardedRun(optimizer)
    undisturbed.feed(105)
    run.feed(60)
    run.feed(5, flipped)
    run.feed(40)
    assert run.trips == 1
    run.check_accounts()
    assert run.learner.rollback_log.trial.examples == 0
    named = [one.offset_range for one in run.learner.quarantine.quarantined]
    for number in range(60, 65):
        begin, end = BATCH * number, BATCH * (number + 1)
        assert any(holds(one, begin, end) for one in named), number
    assert run.learner.metrics.quarantined == 5 * BATCH, "what was learned before is learned again"
    unspoilt = np.array(run.losses[60:]) / np.array(undisturbed.losses[60:])
    assert np.sort(unspoilt)[-2] < 1.2, "no answer since then was any worse"
    assert unspoilt.max() < (2.0 if isinstance(optimizer, SGD) else 1.2), "a fixed rate leaps once"
    assert np.mean(run.losses[-10:]) < np.mean(run.losses[:5])


def test_alerts_name_the_version_gone_back_to_and_then_the_offsets() -> None:
    run = GuardedRun()
    run.feed(60)
    run.feed(1, flipped)
    (told,) = run.learner.quarantine.take()
    good = 60 - VALIDATION_EXAMPLES // BATCH
    assert told.kind is AlertKind.GUARD_TRIPPED
    assert told.message.startswith(f"back at the weights of 1.{good}: log loss")
    assert "before" in told.message
    assert told.message.endswith(f"{VALIDATION_EXAMPLES + BATCH} examples are held back")
    run.feed(VALIDATION_EXAMPLES // BATCH)
    (told,) = run.learner.quarantine.take()
    assert told.details["quarantined"] == [[0, upto(6_000), upto(6_100)]]
    assert "log loss" in told.message
    assert run.learner.quarantine.take() == [], "told once"


def test_what_was_learned_since_the_last_good_state_is_undone_to_the_last_bit() -> None:
    """The very weights, and optimiser state, of the version that the alert names."""
    run = GuardedRun()
    kept: dict[str, tuple[bytes, dict[int, bytes]]] = {}

    def remember() -> None:
        trained = run.learner.trained
        table = trained.weights.table
        rows = {int(k): r.tobytes() for k, r in zip(table.keys, table.rows, strict=True)}
        kept[str(run.learner.version)] = (trained.dense_state.tobytes(), rows)

    for _ in range(60):
        run.feed(1)
        remember()
    while run.trips == 0:
        remember()
        run.feed(1, flipped)
    (told,) = run.learner.quarantine.take()
    good = told.message.split(":")[0].split()[-1]
    restored = run.learner.version
    remember()
    assert kept[str(restored)] == kept[good]
    assert restored == run.replica.version


def test_a_gradient_of_weights_that_were_taken_back_is_refused_as_stale() -> None:
    run = GuardedRun()
    run.feed(60)
    work = examples(NO_DENSE, BATCH, begin=6_100, seed=61)
    late = run.shard.gradient(work)
    run.feed(1, flipped)
    assert run.trips == 1
    answer = run.learner.offer(late, 0.0)
    assert (answer.accepted, answer.stale, answer.applied) == (False, True, upto(6_100))
    assert run.learner.offer(run.shard.gradient(work), 0.0).accepted


def test_harm_that_shows_only_afterwards_is_undone_with_what_did_it() -> None:
    """Labels and scores of the poisoned span look well; its gradient points the wrong way.

    Without probes the step has no bound, which would have kept most of the harm away.
    """
    run = GuardedRun(SGD(0.1))
    run.feed(60)
    before, good = np.mean(run.losses[-10:]), run.learner.version
    work = examples(NO_DENSE, BATCH, begin=BATCH * run.number, seed=run.number)
    gradient = run.shard.gradient(work)
    run.number += 1
    run.learner.offer(replace(gradient, rows=-90.0 * gradient.rows, probes=None), 0.0)
    delta = run.learner.step(0, 0.0)
    assert delta is not None
    run.take(delta)
    run.feed(60)
    assert run.losses[60] > 2.0 * before, "the harm was done"
    assert run.trips == 2, "it is learned again once"
    named = [one.offset_range for one in run.learner.quarantine.quarantined]
    assert any(holds(one, 6_000, 6_100) for one in named)
    assert np.mean(run.losses[-10:]) < 1.1 * before
    assert run.learner.version > good
    run.check_accounts()


def drifting(share: float) -> Spoil:
    """Tastes turn for a share of the ids."""

    def turn(work: Examples) -> Examples:
        turned = work.inputs.ids[:, 0] // 7919 <= 20 * share
        return replace(work, labels=np.where(turned, 1.0 - work.labels, work.labels))

    return turn


def test_tastes_that_turn_one_after_the_other_never_trip() -> None:
    run = GuardedRun(SGD(0.1))
    run.feed(60)
    for step in range(200):
        run.feed(1, drifting(step / 200))
    run.feed(40, drifting(1.0))
    assert run.trips == 0
    run.check_accounts()


@pytest.mark.parametrize("optimizer", [SGD(0.1), Adagrad(0.5), Adam(0.1), FTRL(0.2)], ids=repr)
def test_a_tenth_of_all_tastes_may_turn_at_once(optimizer: Optimizer) -> None:
    run = GuardedRun(optimizer)
    run.feed(60)
    run.feed(60, drifting(0.1))
    assert run.trips == 0


def test_a_challenger_that_learned_what_is_held_back_follows_a_new_world() -> None:
    run = GuardedRun(Adagrad(0.5))
    run.feed(60)
    run.feed(100, flipped)
    assert run.trips == 1
    kinds = [one.kind for one in run.learner.quarantine.take()]
    assert kinds == [AlertKind.GUARD_TRIPPED, AlertKind.REGIME_ACCEPTED]
    assert np.mean(run.losses[-10:]) > 1.2, "it has learned the opposite"
    run.check_accounts()
    assert run.learner.metrics.quarantined == run.learner.rollback_log.trial.examples == 0
    run.feed(60, flipped)
    assert run.trips == 1


def test_a_challenger_that_is_no_better_is_undone_and_what_it_learned_quarantined() -> None:
    """Labels are reversed for as long as the trial lasts; the challenger is spoiled for good."""
    run = GuardedRun(SGD(0.3), guard=GuardSettings(trial_examples=500))
    run.feed(60)
    restored = b""
    while not run.challenged:
        restored = run.learner.trained.dense_state.tobytes()
        run.feed(1, flipped)
    for _ in range(VALIDATION_EXAMPLES // BATCH):
        run.learner.trained.dense_state[0, 0] = 20.0  # all is positive, whatever it learns
        run.feed(1)
    assert run.state is GuardState.TRIAL
    assert run.learner.trained.dense_state.tobytes() == restored
    run.check_accounts()
    reasons = {one.reason for one in run.learner.quarantine.quarantined}
    assert all("a challenger that learned it was no better" in reason for reason in reasons)
    assert run.learner.rollback_log.trial.examples == 0
    run.feed(VALIDATION_EXAMPLES // BATCH)
    assert run.learner.metrics.refused[Refusal.CHALLENGER] == run.learner.metrics.quarantined
    assert np.mean(run.losses[-5:]) < 0.6


def test_each_of_several_bursts_with_a_calm_between_them_is_taken_back() -> None:
    run = GuardedRun()
    run.feed(60)
    for _ in range(8):
        run.feed(1, flipped)
        run.feed(2 * VALIDATION_EXAMPLES // BATCH + 2)
    assert run.trips == 8
    kinds = {one.kind for one in run.learner.quarantine.take()}
    assert kinds == {AlertKind.GUARD_TRIPPED}
    assert run.learner.metrics.quarantined < 8 * 2 * BATCH


def test_the_steps_that_are_kept_stay_few() -> None:
    run = GuardedRun()
    most = 0
    for _ in range(200):
        run.feed(1)
        steps = run.learner.rollback_log.meta()["steps"]
        assert isinstance(steps, list)
        most = max(most, len(steps))
    assert most <= 2 * VALIDATION_EXAMPLES // BATCH


@pytest.mark.parametrize("spoilt", [4, 40])
@pytest.mark.parametrize("crash_after", [58, 61, 62, 66, 79, 82])
@pytest.mark.parametrize(
    "optimizer", [FTRL(0.2), FTRL(0.2, schedule=WarmUp(2_000, StepDecay(3_000)))], ids=repr
)
def test_a_learner_resumed_anywhere_trips_and_goes_back_as_the_first_would(
    optimizer: FTRL, crash_after: int, spoilt: int
) -> None:
    straight, resumed = GuardedRun(optimizer), GuardedRun(optimizer)
    for run, crashes in ((straight, False), (resumed, True)):
        for number in range(105):
            if crashes and number == crash_after:
                files = Files()
                checkpoint = checkpoints.take(run.learner)
                files.save("learner", checkpoint.pieces())
                run.learner = Learner(MODEL, optimizer, LearnerSettings(max_rows=64))
                assert checkpoints.restore(run.learner, files).place
                run.take(run.learner.snapshot(0))
            run.feed(1, flipped if 60 <= number < 60 + spoilt else as_it_is)
    assert straight.trips > 0
    assert resumed.learner.rollback_log.state is straight.learner.rollback_log.state
    assert resumed.learner.metrics.kept() == straight.learner.metrics.kept()
    assert resumed.replica.checksum() == straight.replica.checksum()
    for one in (straight.learner, resumed.learner):
        assert one.trained.examples == one.metrics.examples, "what was undone does not count"
    assert [
        (one.offset_range, one.reason.split("when")[0])
        for one in resumed.learner.quarantine.quarantined
    ] == [
        (one.offset_range, one.reason.split("when")[0])
        for one in straight.learner.quarantine.quarantined
    ]


def test_a_deepfm_survives_a_poisoned_batch() -> None:
    model = DeepFM(embedding_dim=4, hidden=(8,)).bind(NO_DENSE)
    learner = Learner(model, Adagrad(0.3), LearnerSettings(), differentiate=CompiledDifferentiator)
    for number in range(120):
        work = examples(NO_DENSE, BATCH, begin=BATCH * number, seed=number)
        learner.offer(flipped(work) if 80 <= number < 84 else work, 0.0)
        learner.step(0, 0.0)
    assert learner.metrics.guard_trips > 0
    unseen = examples(NO_DENSE, 2_000, seed=999)
    scores = learner.weights.score(unseen.inputs)
    assert ((scores > 0.5) == (unseen.labels > 0.5)).mean() > 0.75


@pytest.mark.parametrize("state", [GuardState.WATCHING, GuardState.TRIAL, GuardState.CHALLENGE])
def test_a_partition_that_is_well_again_is_learned_when_the_guard_has_decided(
    state: GuardState,
) -> None:
    run = GuardedRun()
    run.feed(60)
    log = run.learner.rollback_log
    log.isolated.add([0])
    log.state = state
    run.feed(4)
    assert (log.examples_held_back, run.learner.metrics.examples) == (4 * BATCH, 60 * BATCH)
    assert str(log.isolated)
    run.feed(2)
    due_now = state is GuardState.WATCHING
    assert run.learner.metrics.examples == (66 if due_now else 60) * BATCH
    assert log.examples_held_back == (0 if due_now else 6 * BATCH)
    assert bool(str(log.isolated)) == (state is GuardState.CHALLENGE)
    assert log.state is state
    assert run.learner.metrics.quarantined == 0
