import numpy as np
import pytest

from freshrank.actors.messages import Floats, IdField, InputLayout, Inputs
from freshrank.benchmarks.robust.learning_run import LearningRun, Setup
from freshrank.benchmarks.robust.streams import StreamRows
from freshrank.learner.models.base import ModelSpec
from freshrank.learner.models.deepfm import DeepFM
from freshrank.learner.models.linear_regression import LinearRegression, SquaredLoss
from freshrank.learner.models.linear_svm import LinearSVM
from freshrank.learner.models.logistic_regression import LogisticRegression
from freshrank.learner.models.losses import HuberLoss, Loss, QuantileLoss, learns_scale
from freshrank.learner.optimizers.default import DEFAULT_OPTIMIZER
from freshrank.learner.optimizers.sgd import SGD
from freshrank.learner.parameters.input_moments import moments_of, unscaled
from freshrank.learner.parameters.target_scale import initial_moments, kept_moments, target_scale
from freshrank.learner.parameters.weights import ModelWeights

LAYOUT = InputLayout(("x",), (IdField("shop"),))
ROWS = 600


def rows(unit: float = 1.0, origin: float = 0.0) -> StreamRows:
    """Labels of a number and of a shop, in another unit and from another origin."""
    random = np.random.default_rng(5)
    x, shop = random.normal(size=ROWS), random.integers(1, 6, ROWS)
    labels = origin + unit * (2.0 * x + shop + random.normal(0.0, 0.2, ROWS))
    found: Floats = labels.astype(np.float32)
    inputs = Inputs(x[:, np.newaxis].astype(np.float32), shop[:, np.newaxis] * 7919)
    return StreamRows(inputs, found, found, np.zeros(ROWS, np.bool_))


def run(spec: ModelSpec, batch: int = 16, sgd: bool = False) -> LearningRun:
    optimizer = SGD() if sgd else DEFAULT_OPTIMIZER
    return LearningRun(Setup(spec, optimizer, batch, shards=1, layout=LAYOUT))


@pytest.mark.parametrize("batch", [1, 16])
@pytest.mark.parametrize(
    "spec",
    [
        LinearRegression(),
        LinearRegression(loss=QuantileLoss(0.5)),
        DeepFM(loss=SquaredLoss(), hidden=()),
    ],
)
def test_labels_are_learned_alike_in_any_unit_and_from_any_origin(
    spec: ModelSpec, batch: int
) -> None:
    plain = run(spec, batch).play(rows())
    assert plain.refused == 0
    for unit, origin in ((1e5, 0.0), (1e-4, 0.0), (20.0, 1_000.0)):
        other = run(spec, batch).play(rows(unit, origin))
        assert other.refused == 0
        first = 5 * batch  # the first prediction is 0, wherever the origin is
        found = (other.scores[first:] - origin) / unit
        np.testing.assert_allclose(found, plain.scores[first:], atol=0.05)


def test_a_plain_optimiser_learns_any_unit_too() -> None:
    for unit in (1e-3, 1.0, 1e3):
        played = run(LinearRegression(), sgd=True).play(rows(unit))
        errors = np.abs(played.scores[300:] - played.rows.labels[300:]) / unit
        assert errors.mean() < 0.4


def test_a_row_is_predicted_without_its_label() -> None:
    first, other = rows(), rows()
    other.labels[40:] = 1e6
    spec = LinearRegression(bias=3.5)
    found, without = run(spec, 1).play(first), run(spec, 1).play(other)
    assert found.scores[0] == 3.5
    assert without.scores[40] == found.scores[40]


def test_labels_that_are_all_the_same_are_predicted_and_teach_nothing_else() -> None:
    same = rows()
    same.labels[:] = 7.0
    learning = run(LinearRegression())
    played = learning.play(same)
    assert played.scores[16:].tolist() == [7.0] * (ROWS - 16)
    assert played.refused == 0
    assert not learning.copy.dense.any()


@pytest.mark.parametrize("loss", [SquaredLoss(), HuberLoss(0.5), QuantileLoss(0.2)])
def test_residuals_are_derivatives_of_the_share_of_the_best_constants_loss(loss: Loss) -> None:
    labels = np.array([3.0, 5.0, 9.0], np.float32)
    model = LinearRegression(loss=loss).bind(InputLayout((), ()))
    scale = target_scale(model, moments_of(labels[:, np.newaxis]))
    outputs, step = np.array([0.3, -0.4, 0.2], np.float32), np.float32(1e-2)
    up, down = (
        loss.value(labels, scale.predictions(outputs + sign * step)) / scale.unit
        for sign in (np.float32(1.0), np.float32(-1.0))
    )
    found = scale.residuals(labels, None, scale.predictions(outputs))
    np.testing.assert_allclose(found, (up - down) / (2.0 * step), rtol=1e-2)


def test_only_labels_that_are_numbers_have_a_scale() -> None:
    for spec in (LogisticRegression(), LinearSVM(), DeepFM()):
        model = spec.bind(LAYOUT)
        assert not learns_scale(model.loss)
        assert initial_moments(model).shape == (3, 1)
        assert target_scale(model, initial_moments(model)).plain
    assert initial_moments(LinearRegression(bias=2.0).bind(LAYOUT))[:, 1].tolist() == [0, 2.0, 0]


def test_weights_of_before_predict_as_they_did() -> None:
    model = LinearRegression().bind(LAYOUT)
    for kept in (None, unscaled(1)):
        assert kept_moments(kept, model).shape == (3, 2)
    weights = ModelWeights(model)
    weights.moments = kept_moments(moments_of(np.array([[1.0], [3.0]], np.float32)), model)
    weights.dense = np.array([50.0, 2.0], np.float32)
    inputs = Inputs(np.array([[3.0]], np.float32), np.zeros((1, 1), np.int64))
    assert weights.score(inputs).tolist() == [52.0]
    assert weights.target.plain


def test_an_explanation_adds_up_to_the_score_in_the_unit_of_the_labels() -> None:
    learning = run(LinearRegression())
    learning.play(rows(100.0, 5_000.0))
    few = Inputs(rows().inputs.dense[:3], rows().inputs.ids[:3])
    for score, found in zip(
        learning.copy.score(few).tolist(), learning.copy.explain(few), strict=True
    ):
        whole = found.base + float(found.dense.sum() + found.fields.sum())
        assert whole == pytest.approx(score, rel=1e-5)
        assert found.output == pytest.approx(score, rel=1e-5)
        assert abs(found.base - 5_000.0) < 1_000.0
