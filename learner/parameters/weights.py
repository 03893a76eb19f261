"""The weights of a model: stepped by a learner, or a copy that follows one; and their scores."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import xxhash

from freshrank.actors.errors import ChecksumMismatch, ProgressError, Unavailable
from freshrank.actors.messages import Delta, Doubles, Floats, Inputs, Version
from freshrank.actors.parameters.explanation import Explanation
from freshrank.learner.embeddings.pooling import field_starts
from freshrank.learner.embeddings.table import KeyedTable
from freshrank.learner.models.base import Model
from freshrank.learner.models.explanation.contributions import contributions
from freshrank.learner.models.losses import LogitLink, learns_scale
from freshrank.learner.models.softmax_regression import SoftmaxLink
from freshrank.learner.optimizers.averaged import Averaged
from freshrank.learner.optimizers.base import (
    OF_NUMBER,
    OF_PROBABILITY,
    Optimizer,
    SelfTuned,
    dense_state_width,
)
from freshrank.learner.optimizers.scheduled import as_of
from freshrank.learner.parameters.input_cleaning import InputScale, prepared
from freshrank.learner.parameters.target_scale import (
    TargetScale,
    initial_moments,
    input_scale,
    target_scale,
)


class ModelWeights:
    """Dense weights and table of one model at one version: `Weights` and `ExplainingScorer`.

    Before the first snapshot it scores by the initial weights, and `version` is None. Not
    thread-safe. A learner's own weights are of this class, too: steps change them in place, where
    copies apply deltas.

    Parameters
    ----------
    model
        Sizes, initial weights, and the function from inputs to outputs.
    optimizer
        What they are stepped by: then they hold its state, too. None: they only score.
    """

    def __init__(self, model: Model, optimizer: Optimizer | None = None) -> None:
        self.model = model
        self.optimizer = None if optimizer is None else _fitted(optimizer, model)
        size = model.dense_size
        of_dense = 0 if self.optimizer is None else dense_state_width(self.optimizer, size)
        self.dense_state: Floats = np.zeros((1, size + of_dense), np.float32)
        """float32[1, p + q]: the dense weights, and the optimiser's state of them."""
        self.dense_state[0, :size] = model.initial()
        self.examples = 0
        """That these weights have learned: a schedule of the rate follows their number."""
        self.moments: Doubles = initial_moments(model)
        """Of the dense inputs and of labels that are numbers; see `initial_moments`."""
        self.table = self._empty_table()
        self.version: Version | None = None
        """The version that the last delta led to."""
        self.starts = field_starts(model.layout)
        """See `field_starts`."""
        self._scaled = self._scales()

    def apply(self, delta: Delta) -> None:
        """Apply the whole of `delta`, or nothing.

        Raises ProgressError when it does not lead on from `version`, is a snapshot that is not
        newer, or has the sizes of another model; ChecksumMismatch when it would not give the
        learner's weights.
        """
        self._check(delta)
        table = self._empty_table() if delta.base is None else self.table
        changed, dense = delta.rows, delta.dense[np.newaxis]
        if self.optimizer is not None:
            assert delta.row_state is not None and delta.dense_state is not None  # checked
            changed = np.concatenate([changed, delta.row_state], axis=1)
            dense = np.concatenate([delta.dense, delta.dense_state])[np.newaxis]
        rows = table.prepare(delta.evicted, delta.keys, changed)
        if delta.checksum not in (None, checksum_of(delta.dense, delta.moments, rows.expected)):
            raise ChecksumMismatch(
                f"{delta.base} -> {delta.version} does not give {delta.checksum}"
            )
        table.exchange(rows)
        self.table = table
        self.dense_state, self.moments = dense, delta.moments
        self.version, self.examples = delta.version, delta.learned

    def replace(self, deltas: Sequence[Delta]) -> None:
        """Replace all weights by a snapshot and the deltas after it, or change nothing.

        Raises as `apply` does, and ProgressError when they lead to an older version.
        """
        other = ModelWeights(self.model, self.optimizer)
        for delta in deltas:
            other.apply(delta)
        if self.version is not None and (other.version is None or other.version < self.version):
            raise ProgressError(f"{other.version} after {self.version}: a version never goes back")
        self.table, self.version, self.examples = other.table, other.version, other.examples
        self.dense_state, self.moments = other.dense_state, other.moments

    def _check(self, delta: Delta) -> None:
        if delta.base is not None and delta.base != self.version:
            raise ProgressError(
                f"the delta {delta.base} -> {delta.version} does not continue {self.version}"
            )
        if self.version is not None and delta.version <= self.version:
            raise ProgressError(f"{delta.version} after {self.version}: a version never goes back")
        width = self.model.rows.width
        found = delta.dense.shape, delta.moments.shape, delta.rows.shape
        wanted = (
            (self.model.dense_size,),
            initial_moments(self.model).shape,
            (len(delta.keys), width),
        )
        if found != wanted:
            raise ProgressError(
                f"dense weights, moments and rows of {found} do not fit a model of {wanted}"
            )
        if self.optimizer is not None:
            self._check_state(delta)

    def _check_state(self, delta: Delta) -> None:
        if delta.row_state is None or delta.dense_state is None:
            raise ProgressError(f"the delta to {delta.version} lacks the state of the optimiser")
        found = delta.row_state.shape, delta.dense_state.shape
        of_row = self.table.rows.shape[1] - self.model.rows.width
        of_dense = self.dense_state.shape[1] - self.model.dense_size
        wanted = (len(delta.keys), of_row), (of_dense,)
        if found != wanted:
            raise ProgressError(f"the optimiser's state of {found} is not of {wanted}")

    def _empty_table(self) -> KeyedTable:
        rows, optimizer = self.model.rows, self.optimizer
        return KeyedTable(rows, 0 if optimizer is None else optimizer.state_width(rows.width))

    @property
    def dense(self) -> Floats:
        """float32[p]: the dense weights (a view)."""
        return self.dense_state[0, : self.model.dense_size]

    @dense.setter
    def dense(self, weights: Floats) -> None:
        state = self.dense_state[0, self.model.dense_size :]
        self.dense_state = np.concatenate([weights, state])[np.newaxis]

    @property
    def average(self) -> Averaged | None:
        """The optimiser, where it keeps averages of these weights, which are served."""
        return self.optimizer if isinstance(self.optimizer, Averaged) else None

    @property
    def served_dense(self) -> Floats:
        """float32[p]: the dense weights that serve."""
        if self.average is None:
            return self.dense
        found: Floats = self.average.averages(self.dense_state, self.model.dense_size)[0]
        return found

    def optimizer_at(self, examples: float) -> Optimizer:
        """The optimiser as of so many learned examples: its rate may follow a schedule."""
        assert self.optimizer is not None  # copies that only score are not stepped
        return self.average.at(examples) if self.average else as_of(self.optimizer, examples)

    @property
    def scale(self) -> InputScale:
        """The scale of the dense inputs, by `moments`."""
        return self._present_scales()[1]

    @property
    def target(self) -> TargetScale:
        """From outputs to predictions, by `moments`."""
        return self._present_scales()[2]

    def _present_scales(self) -> tuple[Doubles, InputScale, TargetScale]:
        if self._scaled[0] is not self.moments:  # they are replaced as a whole, once a version
            self._scaled = self._scales()
        return self._scaled

    def _scales(self) -> tuple[Doubles, InputScale, TargetScale]:
        moments, model = self.moments, self.model
        return moments, input_scale(model, moments), target_scale(model, moments)

    def score(self, inputs: Inputs) -> Floats:
        """float32[n], of classes [n, c]: predictions, from dense inputs [n, d] and ids [n, f]."""
        x, ids = prepared(inputs, self.scale)
        pooled = self.table.pool(ids, self.starts)
        return self.target.predictions(self.model.outputs(self.dense, x, pooled))

    def explain(self, inputs: Inputs) -> Iterator[Explanation]:
        """How the score of each row of `inputs` comes about, by the present weights.

        Each row is explained when it is asked for; what `score` needs is taken at once.
        """
        x, ids = prepared(inputs, self.scale)
        pooled, dense = self.table.pool(ids, self.starts), self.dense.copy()
        outputs = self.model.outputs(dense, x, pooled)
        target, layout, classes = self.target, self.model.layout, self.model.loss.classes
        is_logit = isinstance(self.model.loss.link, LogitLink | SoftmaxLink)
        scores, likeliest = target.predictions(outputs), np.zeros(len(x), np.int64)
        if classes:
            likeliest = outputs.argmax(axis=1)
            outputs, scores = outputs.max(axis=1), scores.max(axis=1)

        def explanation(row: int, score: float, output: float) -> Explanation:
            one = slice(row, row + 1)
            found = contributions(self.model, dense, x[one], pooled[one])
            base = float(target.of_labels(found.base)[0])
            of_dense, of_fields = target.deviation * found.dense[0], found.fields[0]
            of_class = classes[likeliest[row]] if classes else None
            return Explanation(
                layout,
                score,
                output,
                base,
                of_dense,
                target.deviation * of_fields,
                is_logit,
                of_class,
            )

        return map(explanation, range(len(x)), scores.tolist(), target.of_labels(outputs).tolist())

    def known_version(self) -> Version:
        """The version; raises Unavailable before the first snapshot."""
        if self.version is None:
            raise Unavailable("weights", "no snapshot has arrived yet")
        return self.version

    def copy(self) -> ModelWeights:
        """An independent copy at the same version: the frozen reference model.

        Raises Unavailable before the first snapshot.
        """
        other = ModelWeights(self.model, self.optimizer)
        other.table, other.examples = self.table.copy(), self.examples
        other.dense_state, other.moments = self.dense_state.copy(), self.moments
        other.version = self.known_version()
        return other

    @property
    def expected_checksum(self) -> str:
        """What `checksum` should give, updated with every change."""
        return checksum_of(self.dense, self.moments, self.table.expected_checksum)

    def checksum(self) -> str:
        """16 hexadecimal digits over all weights; equal copies of one version have the same."""
        return checksum_of(self.dense, self.moments, self.table.checksum())


def _fitted(optimizer: Optimizer, model: Model) -> Optimizer:
    """The optimiser with the rates that it has for `model`."""
    if isinstance(optimizer, SelfTuned):
        inputs = len(model.layout.dense) + len(model.layout.fields)
        curvature = OF_NUMBER if learns_scale(model.loss) else OF_PROBABILITY
        return optimizer.for_model(inputs, model.rows.linear, curvature)
    return optimizer


def checksum_of(dense: Floats, moments: Doubles, table: int) -> str:
    """16 hexadecimal digits of weights whose table has this checksum."""
    arrays = np.ascontiguousarray(dense).tobytes() + np.ascontiguousarray(moments).tobytes()
    return xxhash.xxh64_hexdigest(arrays + table.to_bytes(8, "little"))
