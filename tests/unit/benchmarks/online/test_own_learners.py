import numpy as np

from freshrank.benchmarks.online.drifting import drifting
from freshrank.benchmarks.online.own_learners import LEARNERS, STEPS, encoded, learn
from freshrank.benchmarks.online.quality import quality
from freshrank.benchmarks.online.stream_file import LabelledStream, RawInputs


def test_numbers_and_texts_are_encoded_as_those_of_a_pipeline() -> None:
    rows: list[RawInputs] = [
        {"x": float(np.e) - 1.0, "shop": "a"},
        {"shop": "b"},
        {"x": -1.0, "user": "a"},
    ]
    stream = LabelledStream("s", "binary", (), rows, np.zeros(3, np.float32))
    layout, inputs = encoded(stream)
    assert layout.dense == ("x",)
    assert [field.name for field in layout.fields] == ["shop", "user"]
    np.testing.assert_allclose(inputs.dense[:, 0], [1.0, 0.0, -np.log(2.0)], rtol=1e-6)
    shops, users = inputs.ids[:, 0], inputs.ids[:, 1]
    assert (shops[2], users[0], users[1]) == (0, 0, 0)
    assert len({shops[0], shops[1], users[2]}) == 3


def test_a_stream_without_numbers_or_without_texts_is_encoded() -> None:
    labels = np.zeros(1, np.float32)
    _, inputs = encoded(LabelledStream("s", "binary", (), [{"shop": "a"}], labels))
    assert (inputs.dense.shape, inputs.ids.shape) == ((1, 0), (1, 1))
    _, inputs = encoded(LabelledStream("s", "binary", (), [{"x": 1.0}], labels))
    assert (inputs.dense.shape, inputs.ids.shape) == ((1, 1), (1, 0))


def test_every_row_is_predicted_before_it_is_learned() -> None:
    stream = drifting(2_000)
    for step in STEPS:
        found = learn(stream, LEARNERS[f"linear_{step}"])
        assert found.predictions[0] == 0.5
        first, later = (
            quality("binary", stream.labels[part], found.predictions[part]).log_loss
            for part in (slice(0, 100), slice(400, 500))
        )
        assert later < first
        assert found.seconds > 0.0


def test_several_classes_are_learned_each_against_the_rest() -> None:
    random = np.random.default_rng(3)
    places = random.integers(0, 3, 600)
    rows: list[RawInputs] = [
        {"x": float(random.normal(place, 0.1)), "of": str(place)} for place in places
    ]
    stream = LabelledStream("s", "class", ("a", "b", "c"), rows, places.astype(np.float32))
    found = learn(stream, LEARNERS["linear_64"]).predictions
    np.testing.assert_allclose(found.sum(axis=1), 1.0, rtol=1e-6)
    assert quality("class", stream.labels[300:], found[300:]).value > 0.95
