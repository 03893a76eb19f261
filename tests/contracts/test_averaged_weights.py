"""Averaged weights for serving, with every model and every optimiser."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
from learning import FIRST, LAYOUT, MODELS, OF_CLASSES, Files, examples, inputs

from freshrank.actors.messages import Delta, Doubles, Examples, Floats, Gradient, Version
from freshrank.actors.parameters.uncertainty import WeightSampling
from freshrank.learner import checkpoints
from freshrank.learner.core import Learner
from freshrank.learner.embeddings.averaged_table import AveragedTable
from freshrank.learner.gradients.compiled import CompiledDifferentiator
from freshrank.learner.models.base import Model
from freshrank.learner.optimizers.adagrad import Adagrad
from freshrank.learner.optimizers.adam import Adam
from freshrank.learner.optimizers.auto_adagrad import AutoAdagrad
from freshrank.learner.optimizers.averaged import Averaged
from freshrank.learner.optimizers.base import Optimizer
from freshrank.learner.optimizers.ftrl import FTRL
from freshrank.learner.optimizers.schedules import CosineDecay
from freshrank.learner.optimizers.sgd import SGD
from freshrank.learner.parameters.served_weights import (
    served_checksum,
    served_copy,
    served_delta,
    served_scores,
    served_source,
)
from freshrank.learner.parameters.uncertainty import sampled_predictions, unknown_uncertainty
from freshrank.learner.parameters.weights import ModelWeights
from freshrank.learner.pinned import pinned_of, pinned_weights
from freshrank.learner.settings import LearnerSettings

OPTIMIZERS: list[Optimizer] = [
    SGD(0.01),
    Adagrad(0.05),
    Adam(0.01),
    FTRL(alpha=0.1),
    AutoAdagrad(),
    AutoAdagrad(schedule=CosineDecay(200)),
]
WINDOW = 40.0
STEPS, BATCH = 12, 20
every_model = pytest.mark.parametrize(
    "model", [*MODELS.values(), *OF_CLASSES.values()], ids=[*MODELS, *OF_CLASSES]
)
every_optimizer = pytest.mark.parametrize("of", OPTIMIZERS, ids=repr)


class AveragingRun:
    """A learner with averages, the copy of a shard, and a replica."""

    def __init__(self, model: Model, optimizer: Optimizer, max_rows: int = 1_000) -> None:
        self.model, self.optimizer = model, optimizer
        self.learner = Learner(model, optimizer, LearnerSettings(max_rows=max_rows))
        self.number = 0
        self.restart()

    def restart(self) -> None:
        """Let new copies begin with a snapshot."""
        self.shard, self.replica = (
            ModelWeights(self.model, self.optimizer),
            ModelWeights(self.model),
        )
        self.differentiator = CompiledDifferentiator(self.model, self.shard)
        self.take(self.learner.snapshot(0))

    def take(self, delta: Delta) -> None:
        """Let both follow: each raises where its checksum does not fit."""
        self.shard.apply(delta)
        served = isinstance(self.optimizer, Averaged)
        self.replica.apply(
            served_delta(delta, self.model, self.optimizer)
            if isinstance(self.optimizer, Averaged)
            else delta
        )
        assert (delta.served_checksum is not None) == served

    def works(self, steps: int) -> Iterator[Examples]:
        """The next examples."""
        for _ in range(steps):
            begin = BATCH * self.number
            yield examples(self.model.layout, BATCH, begin=begin, seed=self.number)
            self.number += 1

    def learn(self, work: Examples) -> tuple[Gradient, Delta]:
        """Take a step."""
        gradient = self.differentiator.gradient(work)
        assert self.learner.offer(gradient, 0.0).accepted
        delta = self.learner.step(0, 0.0)
        assert delta is not None
        self.take(delta)
        return gradient, delta


class NaiveAverages:
    """The averages of all weights, computed from how these were after each step."""

    def __init__(self, run: AveragingRun) -> None:
        self._run = run
        self._seen: dict[int, float] = {}
        self._average: dict[int, Doubles] = {}
        """By id; of the dense weights by 0, which is no id."""

    def after(self, gradient: Gradient) -> None:
        counts = dict(zip(gradient.keys.tolist(), gradient.row_counts.tolist(), strict=True))
        for key, count in {**counts, 0: float(len(gradient))}.items():
            weights = self._weights(key).astype(np.float64)
            seen = self._seen.get(key, 0.0)
            kept = min((seen / (seen + count)) ** 4, float(np.exp(-count / WINDOW)))
            before = self._average.get(key, weights)
            self._average[key] = weights + kept * (before - weights)
            self._seen[key] = seen + count

    def _weights(self, key: int) -> Floats:
        weights = self._run.learner.weights
        return weights.table.read(np.array([key]))[0] if key else weights.dense

    def check(self, replica: ModelWeights) -> None:
        for key, average in self._average.items():
            found = replica.table.read(np.array([key]))[0] if key else replica.dense
            assert found == pytest.approx(average, rel=1e-4, abs=1e-5), key


@every_model
@every_optimizer
def test_what_is_served_are_the_averages_of_what_is_learned(model: Model, of: Optimizer) -> None:
    run = AveragingRun(model, Averaged(of, examples=WINDOW))
    naive = NaiveAverages(run)
    for work in run.works(STEPS):
        gradient, _ = run.learn(work)
        naive.after(gradient)
        naive.check(run.replica)
    assert not np.allclose(run.replica.dense, run.learner.weights.dense, rtol=1e-3)


@every_model
@every_optimizer
def test_what_is_learned_does_not_depend_on_it(model: Model, of: Optimizer) -> None:
    plain, averaged = AveragingRun(model, of), AveragingRun(model, Averaged(of, WINDOW))
    for work, same in zip(plain.works(STEPS), averaged.works(STEPS), strict=True):
        (gradient, delta), (other, more) = plain.learn(work), averaged.learn(same)
        assert gradient.served is None
        for name in ("scores", "dense", "rows", "keys"):
            assert getattr(gradient, name).tobytes() == getattr(other, name).tobytes()
        assert delta.checksum == more.checksum
        assert (delta.dense == more.dense).all() and (delta.rows == more.rows).all()
        assert len(delta.keys) == len(more.keys), "no row more than those that were learned"


@every_model
@every_optimizer
def test_shards_judge_by_what_replicas_answer(model: Model, of: Optimizer) -> None:
    run = AveragingRun(model, Averaged(of, WINDOW))
    asked = inputs(model.layout, 50, seed=9)
    for work in run.works(STEPS):
        gradient, _ = run.learn(work)
        found, answer = served_scores(run.shard, asked), run.replica.score(asked)
        assert found.tobytes() == answer.tobytes()
        assert gradient.served is not None and gradient.served.shape == gradient.scores.shape
        frozen = served_copy(run.shard)
        assert frozen.version == run.replica.version
        assert frozen.score(asked).tobytes() == answer.tobytes()
    one = examples(model.layout, 1, begin=BATCH * run.number, seed=run.number)
    # Of a gradient the inputs are standardised with those of its own examples, too.
    served, answer = run.differentiator.gradient(one).served, run.replica.score(one.inputs)
    assert served == pytest.approx(answer, rel=0.05, abs=0.05)
    assert (run.learner.weights.score(asked) != run.replica.score(asked)).any()


@every_model
@every_optimizer
def test_a_resumed_learner_serves_the_same_to_the_last_bit(model: Model, of: Optimizer) -> None:
    one = AveragingRun(model, Averaged(of, WINDOW))
    for work in one.works(STEPS // 2):
        one.learn(work)
    files = Files(b"".join(checkpoints.take(one.learner).pieces()))
    other = AveragingRun(model, Averaged(of, WINDOW))
    checkpoints.restore(other.learner, files)
    other.number = one.number
    other.restart()
    assert other.replica.dense.tobytes() == one.replica.dense.tobytes()
    for work, same in zip(one.works(STEPS // 2), other.works(STEPS // 2), strict=True):
        (_, delta), (_, more) = one.learn(work), other.learn(same)
        assert (delta.checksum, delta.served_checksum) == (more.checksum, more.served_checksum)


@every_model
def test_what_is_pinned_is_what_was_served(model: Model) -> None:
    run = AveragingRun(model, Averaged(AutoAdagrad(), WINDOW))
    for work in run.works(STEPS):
        run.learn(work)
    checkpoint = b"".join(checkpoints.take(run.learner).pieces())
    pinned = pinned_weights(b"".join(pinned_of(checkpoint, model, run.optimizer)), model)
    assert pinned.checksum() == run.replica.checksum()


@pytest.mark.parametrize("of", [AutoAdagrad(), Adam(0.01), FTRL(alpha=0.1)], ids=repr)
def test_lists_explore_around_what_is_served_by_what_was_learned(of: Optimizer) -> None:
    """The uncertainty of weights is that of the learned ones, which have seen the same."""
    model, asked = MODELS["logistic regression"], inputs(LAYOUT, 20, seed=9)
    plain, averaged = AveragingRun(model, of), AveragingRun(model, Averaged(of, WINDOW))
    for work, same in zip(plain.works(STEPS), averaged.works(STEPS), strict=True):
        plain.learn(work)
        averaged.learn(same)
    sampled = ModelWeights(model, averaged.optimizer)
    sampled.apply(served_delta(averaged.learner.snapshot(0), model, Averaged(of, WINDOW)))
    sampling = WeightSampling(count=5, prior=1.0, scale=1.0)
    by_none = sampled_predictions(sampled, asked, WeightSampling(5, 1.0, 0.0), seed=3)
    assert (by_none == averaged.replica.score(asked)).all()
    drawn = sampled_predictions(sampled, asked, sampling, seed=3)
    expected = sampled_predictions(plain.shard, asked, sampling, seed=3)

    def moved(predictions: Floats) -> Doubles:
        logits: Doubles = np.log(predictions.astype(np.float64) / (1.0 - predictions))
        found: Doubles = logits[1:] - logits[0]
        return found

    assert moved(drawn) == pytest.approx(moved(expected), abs=1e-3)
    assert unknown_uncertainty(model, Averaged(of)) is None
    assert unknown_uncertainty(model, Averaged(SGD())) is not None


@every_optimizer
def test_a_learner_that_differentiates_itself_serves_the_same(of: Optimizer) -> None:
    """Its own weights have the averages behind them, and its deltas always have the state."""
    model, optimizer = MODELS["DeepFM"], Averaged(of, WINDOW)
    run = AveragingRun(model, optimizer)
    own = Learner(model, optimizer, LearnerSettings(), differentiate=CompiledDifferentiator)
    for work in run.works(STEPS):
        gradient, delta = run.learn(work)
        assert own.offer(work, 0.0).accepted
        same = own.step(0, 0.0)
        assert same is not None and same.row_state is not None
        assert (same.checksum, same.served_checksum) == (delta.checksum, delta.served_checksum)
    assert own.validation.lifetime.loss_sum == run.learner.validation.lifetime.loss_sum
    raw = model.loss.value(gradient.labels, gradient.scores).sum()
    assert gradient.served is not None
    assert raw != model.loss.value(gradient.labels, gradient.served).sum()


@every_optimizer
def test_a_rollback_takes_back_what_was_served(of: Optimizer) -> None:
    run = AveragingRun(MODELS["DeepFM on one id"], Averaged(of, WINDOW), max_rows=24)
    evicted = 0
    for number, work in enumerate(run.works(450)):
        spoilt = replace(work, labels=1.0 - work.labels) if 300 <= number < 330 else work
        assert run.learner.offer(run.differentiator.gradient(spoilt), 0.0).accepted
        while run.learner.due_in_s(0.0) is not None:
            delta = run.learner.step(0, 0.0)
            if delta is not None:
                run.take(delta)
                evicted += len(delta.evicted)
    learner, table = run.learner, run.learner.weights.table
    assert learner.metrics.guard_trips >= 1
    assert isinstance(table, AveragedTable) and table.recount()
    assert run.replica.checksum() == served_checksum(learner.weights)
    snapshot = ModelWeights(run.model)
    snapshot.apply(served_delta(learner.snapshot(0), run.model, Averaged(of, WINDOW)))
    assert snapshot.checksum() == run.replica.checksum()


def test_an_average_that_was_changed_outside_of_a_step_is_noticed() -> None:
    run = AveragingRun(MODELS["DeepFM"], Averaged(AutoAdagrad()))
    for work in run.works(2):
        run.learn(work)
    table = run.learner.weights.table
    assert table.recount()
    table.rows[0, -2] += 1.0
    assert not table.recount()
    assert table.recount(), "it is taken as it is from then on"


@every_optimizer
def test_off_by_default_nothing_is_added(of: Optimizer) -> None:
    run = AveragingRun(MODELS["DeepFM"], of)
    for work in run.works(2):
        _, delta = run.learn(work)
        assert delta.served_checksum is None
    assert not isinstance(run.learner.weights.table, AveragedTable)
    assert (
        served_scores(run.shard, work.inputs).tobytes() == run.replica.score(work.inputs).tobytes()
    )


def test_replicas_follow_the_averages_of_a_source() -> None:
    model, optimizer = MODELS["DeepFM"], Averaged(AutoAdagrad())
    run = AveragingRun(model, optimizer)
    for work in run.works(3):
        run.learn(work)
    snapshot = run.learner.snapshot(0)

    class Source:
        async def newer_than(
            self, version: Version | None, timeout_s: float, refused: Version | None = None
        ) -> list[Delta]:
            assert (version, timeout_s, refused) == (None, 5.0, FIRST)
            return [snapshot]

    source, replica = Source(), ModelWeights(model)
    assert served_source(source, model, AutoAdagrad()) is source
    following = served_source(source, model, optimizer)
    [found] = asyncio.run(following.newer_than(None, 5.0, FIRST))
    replica.apply(found)
    assert replica.checksum() == run.replica.checksum() != run.learner.weights.checksum()
