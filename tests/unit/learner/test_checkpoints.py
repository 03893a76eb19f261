from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from damage import damaged
from learning import MODELS, NO_DENSE, Files, examples, gradient
from source_offsets import upto

from freshrank.actors.errors import DefinitionChanged, ProgressError, SnapshotError
from freshrank.actors.messages import OffsetRange, Version
from freshrank.actors.snapshots.file_store import FileSnapshots
from freshrank.learner.checkpoints import NAME, made_for, restore, take
from freshrank.learner.core import Learner
from freshrank.learner.embeddings.pooling import field_starts
from freshrank.learner.gradients.compiled import CompiledDifferentiator
from freshrank.learner.learned_pipeline import LearnedPipeline
from freshrank.learner.models.base import Model
from freshrank.learner.models.logistic_regression import LogisticRegression
from freshrank.learner.optimizers.adagrad import Adagrad
from freshrank.learner.optimizers.adam import Adam
from freshrank.learner.optimizers.base import Optimizer
from freshrank.learner.optimizers.default import DEFAULT_OPTIMIZER
from freshrank.learner.optimizers.ftrl import FTRL
from freshrank.learner.optimizers.schedules import CosineDecay, StepDecay, WarmUp
from freshrank.learner.optimizers.sgd import SGD
from freshrank.learner.parameters.input_moments import unscaled
from freshrank.learner.settings import LearnerSettings

SMALL = LogisticRegression().bind(NO_DENSE)


def new(model: Model, optimizer: Optimizer, **settings: int) -> Learner:
    made = LearnerSettings.model_validate(settings)
    return Learner(model, optimizer, made, differentiate=CompiledDifferentiator)


def packed(learner: Learner) -> bytes:
    return b"".join(take(learner).pieces())


def feed(learner: Learner, begin: int, end: int) -> None:
    for number in range(begin, end):
        work = examples(learner.model.layout, 20, begin=20 * number, seed=number)
        assert learner.offer(work, 0.0).accepted
        learner.step(0, 0.0)


@pytest.mark.parametrize(
    "optimizer",
    [
        SGD(0.01),
        Adagrad(0.05),
        DEFAULT_OPTIMIZER,
        Adam(0.01, l1=0.01, dense_l2=0.1),
        FTRL(0.05, l1=0.01),
        SGD(0.01, schedule=CosineDecay(400)),
        FTRL(0.05, l1=0.01, schedule=WarmUp(150, StepDecay(40))),
    ],
    ids=repr,
)
@pytest.mark.parametrize("model", MODELS.values(), ids=MODELS)
def test_a_learner_that_was_restored_goes_on_bit_for_bit(
    model: Model, optimizer: Optimizer
) -> None:
    straight, broken = new(model, optimizer, max_rows=16), new(model, optimizer, max_rows=16)
    feed(straight, 0, 12)
    feed(broken, 0, 7)
    files = Files(packed(broken))
    feed(broken, 7, 9)  # lost with the crash
    resumed = new(model, optimizer, max_rows=16)
    assert restore(resumed, files).place == "file 0"
    assert resumed.version == Version(2, 0)
    assert resumed.progress(0).applied == resumed.progress(0).durable == upto(140)
    feed(resumed, 7, 12)
    assert resumed.weights.checksum() == straight.weights.checksum()
    assert (resumed.trained.dense_state == straight.trained.dense_state).all()
    assert resumed.applied == straight.applied
    assert resumed.newest_event_ms == straight.newest_event_ms
    assert resumed.trained.examples == straight.trained.examples == 240
    for name in ("judged", "auc", model.loss.name, "mean_absolute_error", "coverage"):
        assert resumed.validation.status()[name] == straight.validation.status()[name]


@pytest.mark.parametrize("begin", [0, 40])
def test_a_restarted_learner_takes_the_first_range_of_a_partition_no_second_time(
    begin: int,
) -> None:
    """A shard whose snapshot is older than the checkpoint offers it again."""
    learner, files = new(SMALL, SGD(0.1)), Files()
    work = examples(NO_DENSE, 20, begin=begin)
    first = replace(work, offset_range=replace(work.offset_range, first=True))
    assert learner.offer(first, 0.0).accepted
    learner.step(0, 0.0)
    files.save("learner", take(learner).pieces())
    restarted = new(SMALL, SGD(0.1))
    restore(restarted, files)
    answer = restarted.offer(first, 0.0)
    assert (answer.accepted, answer.applied) == (False, upto(begin + 20))
    assert restarted.step(0, 0.0) is None
    assert restarted.weights.checksum() == learner.weights.checksum()
    assert restarted.metrics.examples == 20


def test_offsets_of_topics_that_are_no_longer_read_are_left_out() -> None:
    learner = new(SMALL, SGD(0.1))
    feed(learner, 0, 3)
    learner.applied = learner.accepted.offsets = {0: upto(60, visits=7), 1: upto(visits=2)}
    files, topics = Files(packed(learner)), LearnedPipeline(["events", "orders"])
    restarted = Learner(SMALL, SGD(0.1), LearnerSettings(), topics)
    restore(restarted, files)
    assert restarted.applied == restarted.durable == {0: upto(60), 1: upto()}
    assert restarted.accepted.fits(OffsetRange(0, upto(60), upto(61)))
    assert restarted.accepted.fits(OffsetRange(1, upto(), upto(5)))


def test_a_checkpoint_is_independent_of_what_the_learner_does_next() -> None:
    learner = new(SMALL, SGD(0.1))
    feed(learner, 0, 3)
    checkpoint, expected = take(learner), learner.weights.checksum()
    feed(learner, 3, 6)
    resumed = new(SMALL, SGD(0.1))
    restore(resumed, Files(b"".join(checkpoint.pieces())))
    assert resumed.weights.checksum() == expected


def test_no_checkpoint_is_taken_while_something_is_pending() -> None:
    """The guard has judged it, the weights do not contain it: a restart would judge it twice."""
    learner = new(SMALL, SGD(0.1))
    learner.offer(gradient(0, 5), 0.0)
    with pytest.raises(ProgressError, match="pending gradients; step before"):
        take(learner)
    learner.step(0, 0.0)
    assert take(learner).applied == {0: upto(5)}


def test_learned_and_quarantined_are_together_all_that_was_taken_over_several_lives() -> None:
    learner = new(SMALL, SGD(0.1))
    learner.offer(gradient(0, 5), 0.0)
    learner.step(0, 0.0)
    learner.offer(gradient(5, 8, base=learner.version, value=float("inf")), 0.0)
    learner.step(0, 0.0)
    resumed = new(SMALL, SGD(0.1))
    restore(resumed, Files(packed(learner)))
    resumed.offer(gradient(8, 12, base=resumed.version), 0.0)
    resumed.step(0, 0.0)
    status = resumed.status(0.0)
    assert (status["examples"], status["examples_quarantined"]) == (9, 3)


def test_quarantined_spans_are_remembered() -> None:
    learner = new(SMALL, SGD(0.1))
    learner.offer(gradient(0, 5, value=float("inf")), 0.0)
    resumed = new(SMALL, SGD(0.1))
    restore(resumed, Files(packed(learner)))
    assert resumed.quarantine.quarantined == learner.quarantine.quarantined != []


def test_every_restart_is_a_new_epoch() -> None:
    files = Files()
    for epoch in range(2, 5):
        learner = new(SMALL, SGD(0.1))
        restore(learner, files)
        files.save(NAME, take(learner).pieces())
        restarted = new(SMALL, SGD(0.1))
        restore(restarted, files)
        assert restarted.version == Version(epoch, 0)


def test_a_damaged_newest_file_costs_the_steps_since_the_one_before() -> None:
    learner = new(SMALL, SGD(0.1))
    feed(learner, 0, 2)
    older = packed(learner)
    feed(learner, 2, 4)
    newest = bytearray(packed(learner))
    newest[len(newest) // 2] ^= 1
    resumed = new(SMALL, SGD(0.1))
    found = restore(resumed, Files(bytes(newest), older))
    assert found.place == "file 1"
    (problem,) = found.problems
    assert "file 0 was passed over: truncated or damaged" in problem
    assert resumed.progress(0).applied == upto(40)


def test_whatever_became_of_the_newest_file_it_is_named_and_the_one_before_is_used(
    tmp_path: Path,
) -> None:
    store, learner = FileSnapshots(tmp_path), new(SMALL, SGD(0.1))
    feed(learner, 0, 2)
    store.save(NAME, take(learner).pieces())
    checksum = learner.weights.checksum()
    feed(learner, 2, 4)
    store.save(NAME, take(learner).pieces())
    path = Path(store.candidates(NAME)[0].place)
    tried = 0
    definitions = made_for(learner.model, learner.optimizer)
    for name, payload in damaged(path.read_bytes(), NAME, definitions):
        path.write_bytes(payload)
        resumed = new(SMALL, SGD(0.1))
        found = restore(resumed, store)
        (problem,) = found.problems
        assert problem.startswith(f"{path} was passed over: "), name
        assert resumed.weights.checksum() == checksum, name
        assert resumed.progress(0).applied == upto(40), name
        tried += 1
    assert tried > 120


def test_files_that_cannot_be_read_are_not_taken_for_none() -> None:
    with pytest.raises(SnapshotError, match=r"no checkpoint can be read: file 0 .*; file 1 was"):
        restore(new(SMALL, SGD(0.1)), Files(b"", b"something else"))
    assert restore(new(SMALL, SGD(0.1)), Files()).place is None


def test_a_checkpoint_from_before_there_were_schedules_goes_on_with_a_constant_rate() -> None:
    """Its fingerprint was made of the same text, and it has no number of learned examples."""
    first, second = new(SMALL, FTRL(0.05)), new(SMALL, FTRL(0.05))
    feed(first, 0, 3)
    taken = take(first)
    text = f"{SMALL.fingerprint} FTRL(alpha=0.05, beta=1.0, l1=0.0, l2=0.0)"
    assert taken.made_for.fingerprint == hashlib.sha256(text.encode()).hexdigest()[:16]
    meta = {name: value for name, value in taken.meta.items() if name != "learned"}
    arrays = {name: array for name, array in taken.arrays.items() if "errors" not in name}
    older = replace(taken, meta=meta, arrays=arrays)
    restore(second, Files(b"".join(older.pieces())))
    assert second.trained.examples == 60
    feed(first, 3, 5)
    feed(second, 3, 5)
    assert second.weights.checksum() == first.weights.checksum()


@pytest.mark.parametrize("model", MODELS.values(), ids=MODELS)
def test_a_checkpoint_of_the_default_optimizer_of_before_goes_on(model: Model) -> None:
    """Weights, squares, and what undoes steps: as if they were the present optimiser's own."""
    first, second = new(model, FTRL(alpha=0.1)), new(model, DEFAULT_OPTIMIZER)
    feed(first, 0, 3)
    restore(second, Files(packed(first)))
    assert second.weights.checksum() == first.weights.checksum()
    feed(second, 3, 5)
    fresh = new(model, DEFAULT_OPTIMIZER)
    feed(fresh, 0, 5)
    kept = "rows", "dense", "step_0_before_rows", "step_0_evicted_rows", "step_0_dense"
    found, wanted = ([take(one).arrays[name].shape[1] for name in kept] for one in (second, fresh))
    assert found == wanted
    assert second.weights.checksum() != first.weights.checksum()
    with pytest.raises(DefinitionChanged):
        restore(new(model, Adagrad(0.1)), Files(packed(first)))


def test_a_checkpoint_from_before_errors_were_counted_counts_them_from_then_on() -> None:
    model, optimizer = MODELS["linear regression"], SGD(0.01)
    first, second = new(model, optimizer), new(model, optimizer)
    feed(first, 0, 2)
    taken = take(first)
    arrays = {name: array for name, array in taken.arrays.items() if "errors" not in name}
    restore(second, Files(b"".join(replace(taken, arrays=arrays).pieces())))
    assert second.validation.status()["mean_absolute_error"] is None
    work = examples(model.layout, 20, begin=40, seed=2)
    before = CompiledDifferentiator(model, second.weights).gradient(work).scores
    feed(second, 2, 3)
    found = second.validation.status()["mean_absolute_error"]
    assert found == pytest.approx(float(abs(work.labels - before).mean()), rel=1e-5)


def test_a_checkpoint_from_before_inputs_were_standardised_keeps_them_as_they_are() -> None:
    model, optimizer = MODELS["logistic regression"], SGD(0.1)
    first = new(model, optimizer)
    taken = take(first)
    arrays = {name: array for name, array in taken.arrays.items() if "moments" not in name}
    second = new(model, optimizer)
    restore(second, Files(b"".join(replace(taken, arrays=arrays).pieces())))
    work = examples(model.layout, 20)
    assert second.weights.score(work.inputs).tobytes() == (
        second.model.loss.link.prediction(
            second.model.outputs(
                second.weights.dense,
                work.inputs.dense,
                second.weights.table.pool(work.inputs.ids, field_starts(model.layout)),
            )
        ).tobytes()
    )
    second.offer(work, 0.0)
    second.step(0, 0.0)
    assert (second.weights.moments == unscaled(2)).all()


@pytest.mark.parametrize(
    "other",
    [
        new(SMALL, SGD(0.2)),
        new(SMALL, FTRL()),
        new(SMALL, SGD(0.1, schedule=CosineDecay(1_000))),
        new(LogisticRegression(base_rate=0.1).bind(NO_DENSE), SGD(0.1)),
        new(MODELS["logistic regression"], SGD(0.1)),
    ],
    ids=["rate", "optimizer", "schedule", "model", "layout"],
)
def test_a_checkpoint_of_another_definition_is_refused(other: Learner) -> None:
    files = Files(packed(new(SMALL, SGD(0.1))))
    with pytest.raises(DefinitionChanged, match="file 0: made for definitions"):
        restore(other, files)
    assert other.version == Version(1, 0)
    assert np.array_equal(other.weights.dense, other.model.initial())
