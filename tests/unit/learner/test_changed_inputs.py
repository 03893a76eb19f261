"""A learner goes on with other inputs: what of its checkpoint is told, refused, or not usable."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from changing_inputs import (
    ITEM,
    RECENT,
    USER,
    WORLD,
    carried,
    feed,
    fresh,
    layout_of,
    packed,
    seen,
    work,
)
from guarded_run import BATCH, MODEL, GuardedRun, flipped
from learning import NO_DENSE, Files, gradient, inputs
from source_offsets import upto

from freshrank.actors.alerts import AlertKind
from freshrank.actors.errors import DefinitionChanged
from freshrank.actors.inputs.cleaning import Bucketed, Clipped, Imputed
from freshrank.actors.messages import Floats, IdField, InputLayout, Version
from freshrank.learner import checkpoints
from freshrank.learner.changed_inputs import REASON
from freshrank.learner.core import Learner
from freshrank.learner.guard.quarantine import Refusal
from freshrank.learner.guard.states import GuardState
from freshrank.learner.models.base import Model, Rebindable
from freshrank.learner.models.deepfm import DeepFM
from freshrank.learner.models.linear_regression import LinearRegression
from freshrank.learner.models.logistic_regression import LogisticRegression
from freshrank.learner.optimizers.averaged import Averaged
from freshrank.learner.optimizers.base import Optimizer, SummedRows
from freshrank.learner.optimizers.default import DEFAULT_OPTIMIZER
from freshrank.learner.optimizers.ftrl import FTRL
from freshrank.learner.optimizers.sgd import SGD
from freshrank.learner.parameters.input_moments import COUNT, MEAN
from freshrank.learner.pinned import pinned_of, pinned_weights
from freshrank.learner.settings import LearnerSettings

BEFORE = layout_of(("price", "views"), USER, ITEM, RECENT)
AFTER = layout_of(("views", "age"), USER, ITEM, other=("item",))


def of(layout: InputLayout) -> Model:
    return LogisticRegression(0.2).bind(layout)


def held_back(files: Files, layout: InputLayout) -> tuple[Learner, checkpoints.Restored]:
    """A learner with these inputs that goes on from the newest file."""
    learner = Learner(MODEL.rebound(layout), FTRL(0.2), LearnerSettings(max_rows=64))
    return learner, checkpoints.restore(learner, files)


def test_what_became_of_each_input_is_told() -> None:
    first = feed(fresh(of(BEFORE), SGD(0.01)), 0, 2)
    second = fresh(of(AFTER), SGD(0.01))
    found = checkpoints.restore(second, Files(packed(first)))
    assert found.changed is not None
    assert str(found.changed) == (
        "2 kept; new: age; gone: price, recent; of another meaning, and so new: item"
    )
    assert found.status() == {
        "passed_over": [],
        "changed_inputs": {
            "kept": 2,
            "new": ["age"],
            "gone": ["price", "recent"],
            "other": ["item"],
            "examples_refused": 0,
        },
    }
    again = checkpoints.restore(fresh(of(AFTER), SGD(0.01)), Files(packed(second)))
    assert again.changed is None and again.status()["changed_inputs"] is None


def test_an_input_of_the_same_name_and_another_meaning_begins_anew() -> None:
    """The model's fingerprint has the names alone."""
    first = feed(fresh(of(BEFORE), SGD(0.1)), 0, 4)
    second = carried(first, replace(BEFORE, meanings=("cents", *BEFORE.meanings[1:])))
    assert checkpoints.made_for(first.model, SGD(0.1)) == checkpoints.made_for(
        second.model, SGD(0.1)
    )
    assert second.weights.dense[1] == 0.0 != first.weights.dense[1]
    assert second.weights.dense[2] == first.weights.dense[2]
    assert second.weights.moments[COUNT].tolist() == [0.0, 80.0]


def test_a_number_that_is_cleaned_from_now_on_begins_anew_and_the_others_stay() -> None:
    """Cleaning brings further rows of statistics, which the other inputs have none in."""
    model = LinearRegression().bind(replace(BEFORE, meanings=()))
    assert isinstance(model, Rebindable)
    first = feed(fresh(model, SGD(0.01)), 0, 4)
    buckets = IdField("price_bucket", 1, ("price",))
    cleaned = InputLayout(
        BEFORE.dense, (*BEFORE.fields, buckets), (Clipped("price"), Bucketed("price", 4))
    )
    second = carried(first, cleaned)
    moments = second.weights.moments
    assert first.weights.moments.shape == (3, 3) and moments.shape == (134, 3)
    assert not moments[:, 0].any() and not moments[3:].any()
    np.testing.assert_array_equal(moments[:3, 1:], first.weights.moments[:, 1:])
    feed_with_buckets(second, 4, 8)
    assert second.weights.moments[COUNT].tolist() == [80.0, 160.0, 160.0]
    assert np.isfinite(second.weights.dense).all()
    third = carried(second, replace(BEFORE, meanings=()))
    assert third.weights.moments.shape == (3, 3)
    np.testing.assert_array_equal(third.weights.moments[:, 1:], second.weights.moments[:3, 1:])
    filled = carried(second, replace(cleaned, cleaning=(*cleaned.cleaning, Imputed("views", 1.0))))
    np.testing.assert_array_equal(filled.weights.moments[:, 0], second.weights.moments[:, 0])
    assert not filled.weights.moments[:, 1].any()


def feed_with_buckets(learner: Learner, begin: int, end: int) -> None:
    """As `feed`, with ids of a field whose buckets the learner mixes in."""
    for number in range(begin, end):
        one = work(BEFORE, 20, number)
        ids = np.concatenate([one.inputs.ids, np.full((20, 1), 5)], axis=1)
        assert learner.offer(replace(one, inputs=replace(one.inputs, ids=ids)), 0.0).accepted
        learner.step(0, 0.0)


@pytest.mark.parametrize("optimizer", [FTRL(0.1), DEFAULT_OPTIMIZER], ids=repr)
def test_the_default_optimizer_of_before_goes_on_with_other_inputs(optimizer: Optimizer) -> None:
    model = DeepFM(4, (8, 5)).bind(BEFORE)
    first = feed(fresh(model, FTRL(0.1)), 0, 5)
    second = fresh(model.rebound(AFTER), optimizer)
    found = checkpoints.restore(second, Files(packed(first)))
    assert found.changed is not None and found.changed.kept == ("views", "user")
    were, are = first.weights.dense, second.weights.dense
    assert [are[0], are[1]] == [were[0], were[2]]
    squares = (
        first.trained.dense_state[0, model.dense_size :],
        second.trained.dense_state[0, second.model.dense_size :],
    )
    assert squares[1][1] == squares[0][2] > 0.0 == squares[1][2]
    assert first.weights.moments[MEAN, 1] == second.weights.moments[MEAN, 0]
    feed(second, 5, 7)


def test_what_the_guard_holds_back_is_quarantined_and_counted() -> None:
    run = GuardedRun()
    run.feed(30)
    while run.state is not GuardState.TRIAL:
        run.feed(1, flipped)
    run.feed(2)
    files, before = Files(packed(run.learner)), run.learner.status(0.0)
    held = run.learner.rollback_log.examples_held_back
    assert held > 2 * BATCH
    learner, found = held_back(files, NO_DENSE)
    assert found.changed is None
    assert learner.rollback_log.examples_held_back == held, "of the same inputs it waits on"

    learner, found = held_back(files, InputLayout(("age",), NO_DENSE.fields))
    status = learner.status(0.0)
    assert found.changed is not None and found.changed.examples_refused == held
    refused, were_refused = status["examples_refused"], before["examples_refused"]
    assert isinstance(refused, dict) and isinstance(were_refused, dict)
    assert refused == {**were_refused, Refusal.INPUTS: held}
    assert (status["examples"], status["examples_held_back"]) == (before["examples"], 0)
    assert learner.metrics.examples + learner.metrics.quarantined == BATCH * run.number
    assert learner.rollback_log.state is GuardState.WATCHING
    assert learner.applied == {0: upto(BATCH * run.number)}
    newest = learner.quarantine.quarantined[-1]
    assert newest.reason == REASON
    assert newest.offset_range.end == upto(BATCH * run.number)
    (alert,) = learner.quarantine.take()
    assert alert.kind is AlertKind.GUARD_TRIPPED and REASON in alert.message
    again, _ = held_back(Files(packed(learner)), InputLayout(("age",), NO_DENSE.fields))
    assert again.status(0.0)["examples_refused"] == refused
    assert not again.quarantine.take(), "it is told once"


def test_what_an_isolated_partition_waits_with_is_quarantined() -> None:
    first = fresh(LogisticRegression().bind(NO_DENSE), SGD(0.1))
    first.rollback_log.isolated.add([1])
    for begin in (0, 4):
        first.offer(gradient(begin, begin + 4, partition=1), 0.0)
    assert first.rollback_log.examples_held_back == 8
    second = carried(first, InputLayout((), (ITEM, USER)))
    assert second.metrics.refused[Refusal.INPUTS] == 8
    assert [str(one) for one in second.quarantine.quarantined] == [
        f"partition 1 (the beginning)..(events 8): {REASON}"
    ]
    assert second.rollback_log.health() == {}
    second.offer(gradient(8, 10, partition=1, base=second.version), 0.0)
    assert second.step(0, 0.0) is not None


def test_steps_that_could_be_undone_count_as_validated() -> None:
    first = feed(fresh(of(BEFORE), SGD(0.01)), 0, 3)
    assert "step_0_dense" in checkpoints.take(first).arrays
    arrays = checkpoints.take(carried(first, AFTER)).arrays
    assert not [name for name in arrays if name.startswith("step")]


def test_a_damaged_newest_file_falls_back_to_one_of_other_inputs() -> None:
    first = feed(fresh(of(BEFORE), SGD(0.01)), 0, 2)
    older = packed(first)
    second = feed(carried(first, AFTER), 2, 4)
    newest = bytearray(packed(second))
    newest[len(newest) // 2] ^= 1
    third = fresh(of(AFTER), SGD(0.01))
    found = checkpoints.restore(third, Files(bytes(newest), older))
    assert found.place == "file 1" and len(found.problems) == 1
    assert found.changed is not None
    assert third.progress(0).applied == upto(40) and third.version == Version(2, 0)
    assert third.weights.checksum() == carried(first, AFTER).weights.checksum()


def test_the_basis_is_of_model_loss_and_optimizer_and_not_of_inputs() -> None:
    def basis(model: Model, optimizer: Optimizer = DEFAULT_OPTIMIZER) -> str:
        return checkpoints.made_for(model, optimizer).basis

    one = basis(of(BEFORE))
    assert one == basis(of(AFTER)) == basis(of(WORLD)) != ""
    others = {
        basis(LogisticRegression(0.3).bind(BEFORE)),
        basis(LinearRegression().bind(BEFORE)),
        basis(DeepFM(4).bind(BEFORE)),
        basis(DeepFM(5).bind(BEFORE)),
        basis(of(BEFORE), FTRL(0.1)),
        basis(of(BEFORE), Averaged()),
    }
    assert len(others) == 6 and not others & {one, ""}


class OwnOptimizer:
    """One of a pipeline's own, whose state may lie anywhere."""

    def state_width(self, width: int) -> int:
        return width

    def update(
        self, rows: Floats, positions: object, gradient: SummedRows, dense: bool = False
    ) -> None:
        raise NotImplementedError

    def __repr__(self) -> str:
        return "OwnOptimizer()"


class OwnModel:
    """One of a pipeline's own, which does not say what its weights belong to."""

    def __init__(self, model: Model) -> None:
        self.layout, self.fingerprint, self.loss = model.layout, model.fingerprint, model.loss
        self.dense_size, self.rows = model.dense_size, model.rows
        self.initial, self.outputs, self.backward = model.initial, model.outputs, model.backward


@pytest.mark.parametrize(
    ("own", "optimizer"),
    [(True, SGD(0.1)), (False, OwnOptimizer()), (False, Averaged(OwnOptimizer()))],
    ids=["model", "optimizer", "averaged optimizer"],
)
def test_weights_and_state_of_unknown_owners_are_not_carried_over(
    own: bool, optimizer: Optimizer
) -> None:
    def model(layout: InputLayout) -> Model:
        return OwnModel(of(layout)) if own else of(layout)

    first = fresh(model(BEFORE), optimizer)
    assert checkpoints.made_for(first.model, optimizer).basis == ""
    files = Files(packed(first))
    assert checkpoints.restore(fresh(model(BEFORE), optimizer), files).place == "file 0"
    with pytest.raises(DefinitionChanged, match="made for definitions"):
        checkpoints.restore(fresh(model(AFTER), optimizer), files)
    other = replace(BEFORE, meanings=("cents", *BEFORE.meanings[1:]))
    with pytest.raises(DefinitionChanged, match=r"other inputs: 4 kept; of another meaning.*price"):
        checkpoints.restore(fresh(model(other), optimizer), files)


def test_pinned_weights_are_those_of_their_own_inputs() -> None:
    model, optimizer = of(BEFORE), SGD(0.1)
    first = feed(fresh(model, optimizer), 0, 3)
    rows = seen(BEFORE, inputs(WORLD, 20))
    file = b"".join(pinned_of(packed(first), model, optimizer))
    np.testing.assert_array_equal(
        pinned_weights(file, model).score(rows), first.weights.score(rows)
    )
    with pytest.raises(DefinitionChanged, match="other inputs: 2 kept"):
        pinned_of(packed(first), of(AFTER), optimizer)
    other = of(replace(BEFORE, meanings=("cents", *BEFORE.meanings[1:])))
    with pytest.raises(DefinitionChanged, match="of another meaning, and so new: price"):
        pinned_of(packed(first), other, optimizer)
    with pytest.raises(DefinitionChanged, match="of another meaning, and so new: price"):
        pinned_weights(file, other)
