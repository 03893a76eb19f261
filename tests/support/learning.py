"""A small learning problem: inputs of every kind, and a truth that can be learned."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial

import numpy as np
from source_offsets import upto

from freshrank.actors.messages import (
    Delta,
    Doubles,
    Examples,
    Floats,
    Gradient,
    IdField,
    InputLayout,
    Inputs,
    Ints,
    OffsetRange,
    SourceOffsets,
    Version,
)
from freshrank.actors.snapshots.store import StoredSnapshot
from freshrank.learner.models.base import Model
from freshrank.learner.models.deepfm import DeepFM
from freshrank.learner.models.linear import LinearModel
from freshrank.learner.models.linear_regression import LinearRegression
from freshrank.learner.models.linear_svm import LinearSVM
from freshrank.learner.models.logistic_regression import LogisticRegression
from freshrank.learner.models.losses import (
    ClassWeighted,
    DownSampled,
    HuberLoss,
    LogLoss,
    Loss,
    PlackettLuceLoss,
    QuantileLoss,
)
from freshrank.learner.models.softmax_regression import SoftmaxLoss, SoftmaxRegression
from freshrank.learner.parameters.input_moments import no_moments
from freshrank.learner.parameters.target_scale import kept_moments
from freshrank.learner.parameters.weights import ModelWeights


@dataclass(frozen=True)
class LogLink:
    """The prediction is the expected count, the output its logarithm."""

    def prediction(self, outputs: Floats) -> Floats:
        return np.exp(outputs)

    def output(self, predictions: Floats) -> Doubles:
        return np.log(predictions.astype(np.float64))


@dataclass(frozen=True)
class PoissonLoss(Loss):
    """A loss of a user's own: that of a Poisson regression, without its constant."""

    @property
    def link(self) -> LogLink:
        return LogLink()

    def value(self, labels: Floats, predictions: Floats) -> Doubles:
        rates = predictions.astype(np.float64)
        return rates - labels * np.log(rates)

    def residual(self, labels: Floats, predictions: Floats) -> Floats:
        return predictions - labels


CLASSES = SoftmaxLoss(("no", "yes", "never"))
"""Of which labels of 0 and 1 give the first two."""
WEIGHTED, SAMPLED = ClassWeighted(positive=3.0), DownSampled(LogLoss(), 0.3)
LAYOUT = InputLayout(("price", "views"), (IdField("user"), IdField("item"), IdField("recent", 3)))
NO_DENSE = InputLayout((), (IdField("item"),))
FIRST = Version(1, 0)
"""Of a learner that starts with nothing."""
MODELS: dict[str, Model] = {
    "logistic regression": LogisticRegression(base_rate=0.2).bind(LAYOUT),
    "logistic regression, weighted": LogisticRegression(0.2, loss=WEIGHTED).bind(LAYOUT),
    "DeepFM, some of the negatives": DeepFM(4, (8, 5), 0.2, loss=SAMPLED).bind(LAYOUT),
    "linear regression": LinearRegression(bias=0.3).bind(LAYOUT),
    "linear, of the median": LinearRegression(0.3, loss=QuantileLoss(0.5)).bind(LAYOUT),
    "linear SVM": LinearSVM().bind(LAYOUT),
    "DeepFM": DeepFM(embedding_dim=4, hidden=(8, 5), base_rate=0.2).bind(LAYOUT),
    "DeepFM without layers": DeepFM(embedding_dim=3, hidden=()).bind(LAYOUT),
    "DeepFM, Huber loss": DeepFM(4, (8, 5), 0.2, loss=HuberLoss(0.5)).bind(LAYOUT),
    "linear, a loss of one's own": LinearModel(PoissonLoss(), bias=-1.0).bind(LAYOUT),
    "DeepFM, a loss of one's own": DeepFM(4, (8, 5), 0.2, loss=PoissonLoss()).bind(LAYOUT),
    "DeepFM on one id": DeepFM(embedding_dim=2, hidden=(3,)).bind(NO_DENSE),
}

OF_CLASSES: dict[str, Model] = {
    "softmax regression": SoftmaxRegression(loss=CLASSES).bind(LAYOUT),
}
"""Models with an output for each class."""

OF_SLATES: dict[str, Model] = {
    "logistic regression, of slates": LogisticRegression(loss=PlackettLuceLoss()).bind(LAYOUT),
    "DeepFM, of slates": DeepFM(4, (8, 5), loss=PlackettLuceLoss()).bind(LAYOUT),
}
"""Models of the order of lists: each label of 1 begins a slate."""


def inputs(layout: InputLayout, rows: int, seed: int = 0, distinct_ids: int = 20) -> Inputs:
    """Random inputs with ids that no two fields share; every fifth id is absent."""
    random = np.random.default_rng(seed)
    salts = np.repeat(np.arange(len(layout.fields)), [one.width for one in layout.fields])
    ids = random.integers(1, distinct_ids + 1, (rows, layout.id_width)) * 7919 + salts
    ids[random.random(ids.shape) < 0.2] = 0
    dense = random.normal(size=(rows, len(layout.dense))).astype(np.float32)
    return Inputs(dense, ids.astype(np.int64))


def examples(
    layout: InputLayout, rows: int, *, begin: int = 0, partition: int = 0, seed: int = 0
) -> Examples:
    """Rows whose label depends on their first id and a little chance; their span is `rows` long."""
    given = inputs(layout, rows, seed)
    random = np.random.default_rng(seed + 1)
    odds = np.where(given.ids[:, 0] // 7919 % 2 == 1, 0.9, 0.1)
    return Examples(
        OffsetRange(partition, upto(begin), upto(begin + rows)),
        given,
        (random.random(rows) < odds).astype(np.float32),
        1_000 + np.arange(begin, begin + rows),
    )


def gradient(
    begin: int,
    end: int,
    *,
    base: Version = FIRST,
    partition: int = 0,
    keys: tuple[int, ...] = (7,),
    value: float = 1.0,
) -> Gradient:
    """A gradient for `LogisticRegression` on `NO_DENSE` with one example a record."""
    rows = end - begin
    return Gradient(
        offset_range=OffsetRange(partition, upto(begin), upto(end)),
        base=base,
        dense=np.full(1, value, np.float32),
        keys=np.array(keys, np.int64),
        rows=np.full((len(keys), 1), value, np.float32),
        dense_squares=np.full(1, value**2, np.float32),
        row_squares=np.full((len(keys), 1), value**2, np.float32),
        row_counts=np.full(len(keys), rows, np.float32),
        labels=(np.arange(rows) % 2).astype(np.float32),
        scores=np.full(rows, 0.5, np.float32),
        reference_scores=None,
        newest_event_ms=1_000 + end,
        moments=no_moments(0),
    )


def delta(
    version: Version,
    base: Version | None,
    rows: dict[int, float] | None = None,
    *,
    evicted: tuple[int, ...] = (),
    applied: dict[int, SourceOffsets] | None = None,
    created_ms: int = 0,
    checksum: str | None = None,
) -> Delta:
    """A delta for `LogisticRegression` on `NO_DENSE`."""
    keys = sorted(rows or {})
    return Delta(
        version=version,
        base=base,
        dense=np.array([version.step], np.float32),
        moments=no_moments(0),
        keys=np.array(keys, np.int64),
        rows=np.array([[(rows or {})[key]] for key in keys], np.float32).reshape(-1, 1),
        evicted=np.array(evicted, np.int64),
        applied=applied or {},
        created_ms=created_ms,
        checksum=checksum,
    )


def random_weights(model: Model, seed: int = 0) -> ModelWeights:
    """Weights at version 1.0 with something in every place."""
    random = np.random.default_rng(seed)
    keys = (np.arange(1, 21) * 7919 + np.arange(3)[:, None]).ravel()
    weights = ModelWeights(model)
    weights.apply(
        Delta(
            version=Version(1, 0),
            base=None,
            dense=random.normal(0.0, 0.3, model.dense_size).astype(np.float32),
            moments=kept_moments(None, model),
            keys=keys,
            rows=random.normal(0.0, 0.3, (len(keys), model.rows.width)).astype(np.float32),
            evicted=np.empty(0, np.int64),
        )
    )
    return weights


def contents(keys: Ints, rows: Floats) -> dict[int, list[float]]:
    """A table as a dictionary."""
    return {int(key): row.tolist() for key, row in zip(keys, rows, strict=True)}


class Files:
    """A snapshot store in memory."""

    def __init__(self, *payloads: bytes) -> None:
        self.payloads = list(payloads)

    def save(self, name: str, pieces: Iterable[bytes | memoryview]) -> int:
        assert name == "learner"
        self.payloads.insert(0, b"".join(pieces))
        return len(self.payloads[0])

    def candidates(self, name: str) -> list[StoredSnapshot]:
        assert name == "learner"
        return [
            StoredSnapshot(f"file {number}", partial(bytes, payload))
            for number, payload in enumerate(self.payloads)
        ]
