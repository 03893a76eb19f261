from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from learning import NO_DENSE, examples, gradient
from pydantic import ValidationError
from source_offsets import upto

from freshrank.actors.errors import ConfigError
from freshrank.actors.messages import BEGINNING, Delta, OffsetRange, Version
from freshrank.actors.protocols import Progress
from freshrank.learner.core import Learner
from freshrank.learner.gradients.compiled import CompiledDifferentiator
from freshrank.learner.guard.settings import GuardSettings
from freshrank.learner.models.logistic_regression import LogisticRegression
from freshrank.learner.optimizers.base import Optimizer
from freshrank.learner.optimizers.ftrl import FTRL
from freshrank.learner.optimizers.sgd import SGD
from freshrank.learner.parameters.weights import ModelWeights
from freshrank.learner.settings import LearnerSettings

MODEL = LogisticRegression().bind(NO_DENSE)


def learner(optimizer: Optimizer | None = None, **settings: int) -> Learner:
    made = LearnerSettings.model_validate({**settings, "guard": {"max_weight": 5.0}})
    return Learner(MODEL, optimizer or SGD(0.1), made)


def step(one: Learner, now_ms: int = 5_000, monotonic: float = 0.0) -> Delta:
    delta = one.step(now_ms, monotonic)
    assert delta is not None
    return delta


def test_a_step_sums_the_shards_and_publishes_what_changed() -> None:
    one = learner()
    one.offer(gradient(0, 2, keys=(3, 7)), 0.0)
    one.offer(gradient(0, 1, partition=1, keys=(7, 9)), 0.0)
    delta = step(one)
    assert (delta.base, delta.version) == (Version(1, 0), Version(1, 1))
    assert delta.keys.tolist() == [3, 7, 9]
    assert delta.rows[:, 0].tolist() == pytest.approx([-0.1, -0.2, -0.1])
    assert delta.dense.tolist() == pytest.approx([-0.2])
    assert delta.applied == {0: upto(2), 1: upto(1)}
    assert (delta.created_ms, delta.newest_event_ms) == (5_000, 1_002)


def test_progress_tells_what_is_taken_before_it_is_learned() -> None:
    one = learner()
    assert one.progress(0) == Progress(True, False, BEGINNING, BEGINNING, Version(1, 0))
    assert one.offer(gradient(0, 5), 0.0).applied == upto(5)
    assert one.progress(0).applied == upto(5)
    assert one.applied == {}
    step(one)
    assert one.applied == {0: upto(5)}


@pytest.mark.parametrize("begin", [0, 4, 6])
def test_a_span_out_of_turn_is_refused_and_the_next_one_named(begin: int) -> None:
    one = learner()
    one.offer(gradient(0, 5), 0.0)
    answer = one.offer(gradient(begin, 9), 0.0)
    assert (answer.accepted, answer.stale, answer.applied) == (False, False, upto(5))
    assert one.status(0.0)["pending_examples"] == 5


def test_gradients_of_old_weights_are_refused_beyond_the_bound() -> None:
    one = learner(max_staleness_steps=2)
    for number in range(3):
        one.offer(gradient(number, number + 1, base=one.version), 0.0)
        step(one)
    old = one.offer(gradient(3, 4, base=Version(1, 0)), 0.0)
    assert (old.accepted, old.stale, old.applied, old.version) == (False, True, upto(3), (1, 3))
    assert one.offer(gradient(3, 4, base=Version(1, 1)), 0.0).accepted
    other_life = one.offer(gradient(4, 5, base=Version(0, 3)), 0.0)
    assert other_life.stale
    status = one.status(0.0)
    assert status["staleness_steps"] == {"0": 3, "2": 1}
    assert status["refused_stale"] == 2


def test_a_step_is_due_at_the_batch_or_when_the_first_example_has_waited() -> None:
    one = learner(batch_examples=4, max_wait_ms=50)
    assert one.due_in_s(10.0) is None
    one.offer(gradient(0, 3), 10.0)
    assert one.due_in_s(10.02) == pytest.approx(0.03)
    assert one.due_in_s(10.06) == 0.0
    one.offer(gradient(3, 4), 10.01)
    assert one.due_in_s(10.01) == 0.0
    step(one)
    assert one.due_in_s(10.02) is None


def test_spans_without_examples_count_as_applied_and_make_no_version() -> None:
    one = learner()
    empty = replace(gradient(0, 0, keys=()), offset_range=OffsetRange(0, upto(0), upto(8)))
    one.offer(empty, 0.0)
    assert one.applied == {0: upto(8)}
    one.offer(gradient(8, 9), 0.0)
    one.offer(replace(empty, offset_range=OffsetRange(0, upto(9), upto(12))), 0.0)
    assert one.applied == {0: upto(8)}, "what is behind something not yet learned has to wait"
    assert step(one).applied == {0: upto(12)}
    assert one.step(0, 0.0) is None
    assert one.version == Version(1, 1)


def test_a_broken_gradient_is_quarantined_by_name_and_the_rest_goes_on() -> None:
    one = learner()
    one.offer(gradient(0, 2), 0.0)
    assert one.offer(gradient(2, 4, value=float("nan")), 0.0).accepted
    one.offer(gradient(4, 5, keys=(8,)), 0.0)
    delta = step(one)
    assert delta.keys.tolist() == [7, 8]
    assert np.isfinite(delta.rows).all()
    assert delta.applied == {0: upto(5)}
    status = one.status(0.0)
    assert status["guard_trips"] == 1
    assert status["quarantined"] == [
        "partition 0 (events 2)..(events 4): a dense gradient is not finite"
    ]
    assert status["judged"] == 5, "what is refused is judged, too"


def test_a_step_that_runs_away_is_undone_to_the_last_bit() -> None:
    one = learner(FTRL(l1=0.1))
    one.offer(gradient(0, 2, keys=(3, 7)), 0.0)
    step(one)
    before, table_before = one.weights.checksum(), one.weights.table.rows.copy()
    dense_before = one.trained.dense_state.copy()
    one.rollback_log.settings = GuardSettings(max_weight=1e-4)
    one.offer(gradient(2, 4, base=one.version, keys=(5, 7, 9)), 0.0)
    assert one.step(0, 0.0) is None
    assert one.version == Version(1, 1)
    assert one.weights.checksum() == before
    assert (one.weights.table.rows == table_before).all()
    assert (one.trained.dense_state == dense_before).all()
    assert one.applied == {0: upto(4)}
    assert one.quarantine.quarantined[0].offset_range == OffsetRange(0, upto(2), upto(4))
    one.rollback_log.settings = GuardSettings()
    one.offer(gradient(4, 5, base=one.version, keys=(5,)), 0.0)
    assert step(one).base == Version(1, 1)


def test_rows_beyond_the_bound_are_dropped_with_the_least_recent_first() -> None:
    one = learner(max_rows=32)
    weights = ModelWeights(MODEL)
    weights.apply(one.snapshot(0))
    for number in range(5):
        keys = tuple(range(10 * number + 1, 10 * number + 11))
        one.offer(gradient(number, number + 1, base=one.version, keys=keys), 0.0)
        delta = step(one)
        weights.apply(delta)
        assert len(one.weights.table) <= 32
        assert not set(delta.evicted.tolist()) & set(delta.keys.tolist())
        assert weights.checksum() == one.weights.checksum()
    assert sorted(one.weights.table.keys.tolist()) == list(range(21, 51))


def test_a_step_with_more_ids_than_there_is_room_for_keeps_replicas_equal() -> None:
    one = learner(max_rows=16)
    weights = ModelWeights(MODEL)
    weights.apply(one.snapshot(0))
    one.offer(gradient(0, 1, keys=tuple(range(1, 41))), 0.0)
    delta = step(one)
    weights.apply(delta)
    assert len(weights.table) == 15
    assert weights.checksum() == one.weights.checksum()


def test_examples_are_differentiated_at_the_present_weights() -> None:
    one = Learner(MODEL, SGD(0.1), LearnerSettings(), differentiate=CompiledDifferentiator)
    by_hand = Learner(MODEL, SGD(0.1), LearnerSettings())
    weights = ModelWeights(MODEL, SGD(0.1))
    weights.apply(by_hand.snapshot(0))
    differentiator = CompiledDifferentiator(MODEL, weights)
    for number in range(3):
        work = examples(NO_DENSE, 50, begin=50 * number, seed=number)
        assert one.offer(work, 0.0).accepted
        by_hand.offer(differentiator.gradient(work), 0.0)
        step(one)
        weights.apply(step(by_hand))
    assert one.weights.checksum() == weights.checksum()


def test_examples_without_a_differentiator_are_a_mistake_of_the_wiring() -> None:
    with pytest.raises(ConfigError, match="it was sent examples and has no differentiator"):
        learner().offer(examples(NO_DENSE, 3), 0.0)


def test_the_frozen_copy_is_judged_on_the_same_examples_and_the_live_one_is_ahead() -> None:
    one = Learner(MODEL, SGD(0.05), LearnerSettings(), differentiate=CompiledDifferentiator)
    for number in range(20):
        if number == 1:
            one.freeze_reference()
        one.offer(examples(NO_DENSE, 100, begin=100 * number, seed=number), 0.0)
        step(one)
    status = one.status(0.0)
    live, frozen = status["log_loss_live"], status["log_loss_frozen"]
    assert isinstance(live, float) and isinstance(frozen, float)
    assert status["compared"] == 1_900
    assert live < frozen - 0.05


def test_what_the_status_counts() -> None:
    one = learner()
    for number in range(4):
        one.offer(gradient(2 * number, 2 * number + 2, base=one.version), float(number))
        step(one, now_ms=1_102 + 2 * number, monotonic=float(number))
    one.offer(gradient(0, 1, base=one.version), 4.0)
    status = one.status(monotonic=12.5)
    assert (status["version"], status["steps"], status["rows"]) == ("1.4", 4, 1)
    assert (status["steps_per_s"], status["examples_per_s"]) == (0.1, 0.2)
    assert status["refused_out_of_turn"] == 1
    freshness = status["freshness"]
    assert isinstance(freshness, dict)
    assert freshness["p50_ms"] == pytest.approx(100, rel=0.03)
    assert status["applied"] == {"0": {"events": 8}}


def test_impossible_settings_are_refused() -> None:
    with pytest.raises(ValidationError, match="batch_examples"):
        LearnerSettings(batch_examples=0)
    with pytest.raises(ValidationError, match="max_rows"):
        LearnerSettings(max_rows=15)


CHOICES = st.lists(st.tuples(st.integers(0, 2), st.integers(0, 3), st.booleans()), max_size=40)


@given(CHOICES)
def test_each_example_is_applied_exactly_once_whatever_is_sent(
    sends: list[tuple[int, int, bool]],
) -> None:
    """Spans come early, late and twice; the intercept of SGD counts what was learned."""
    one = learner(SGD(1.0))
    one.rollback_log.settings = GuardSettings(max_weight=1e9)
    for partition in range(3):
        one.offer(gradient(0, 1, partition=partition, value=1.0), 0.0)
    learned = 3
    for partition, begin, steps in sends:
        answer = one.offer(gradient(begin, begin + 1, partition=partition, base=one.version), 0.0)
        learned += int(answer.accepted)
        if steps:
            one.step(0, 0.0)
    one.step(0, 0.0)
    assert one.weights.dense.tolist() == [-float(learned)]
    assert sum(offsets["events"] for offsets in one.applied.values()) == learned
