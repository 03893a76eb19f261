from __future__ import annotations

import numpy as np
import pytest

from freshrank.actors.messages import Floats
from freshrank.learner.guard.loss_drift import HORIZON, LossDriftDetector
from freshrank.learner.models.losses import LogLoss

BATCH = 256


class Stream:
    """Batches of a calibrated model whose click rate is `rate`, examples in groups of `together`
    that share one label (a user who buys everything)."""

    def __init__(self, rate: float, seed: int = 0, together: int = 1) -> None:
        self.random = np.random.default_rng(seed)
        self.rate = rate
        self.together = together

    def batch(self, rows: int = BATCH) -> tuple[Floats, Floats]:
        """Labels and scores."""
        odds = np.log(self.rate / (1 - self.rate)) + self.random.normal(0, 0.7, rows)
        chances = 1.0 / (1.0 + np.exp(-odds))
        draws = np.repeat(self.random.random(rows // self.together + 1), self.together)[:rows]
        return (draws < chances).astype(np.float32), chances.astype(np.float32)


def settled(stream: Stream) -> LossDriftDetector:
    """A test that knows what is normal."""
    test = LossDriftDetector(LogLoss(), tolerance=0.3)
    for _ in range(40):
        assert not test.add(*stream.batch())
    return test


def weighted(scale: float, seed: int) -> Floats:
    return scale * np.random.default_rng(seed).lognormal(size=BATCH).astype(np.float32)


def test_weights_of_another_unit_are_no_worse_loss_and_flipped_labels_are_one() -> None:
    stream, test = Stream(0.2, seed=3), LossDriftDetector(LogLoss(), tolerance=0.3)
    for number in range(60):
        assert not test.add(*stream.batch(), weights=weighted(2.0, number))
    for number in range(60):
        assert not test.add(*stream.batch(), weights=weighted(20.0, 100 + number))
    labels, scores = stream.batch()
    flipped = [test.add(1.0 - labels, scores, weights=weighted(20.0, n)) for n in range(8)]
    assert any(flipped)


def test_the_state_of_before_there_were_weights_goes_on() -> None:
    before = settled(Stream(0.2, seed=4)).state()
    *sums, run, since, now = before
    old = [part for row in np.array(sums).reshape(3, -1)[:, :-1].tolist() for part in row]
    again = LossDriftDetector(LogLoss(), tolerance=0.3)
    again.restore([*old, run, since, now])
    assert again.state() == before


def examples_until_a_trip(
    test: LossDriftDetector, batches: list[tuple[Floats, Floats]]
) -> int | None:
    seen = 0
    for labels, scores in batches:
        seen += len(labels)
        if test.add(labels, scores):
            return seen
    return None


@pytest.mark.parametrize("rate", [0.002, 0.03, 0.2, 0.5])
@pytest.mark.parametrize("together", [1, 8])
def test_a_calm_stream_never_trips(rate: float, together: int) -> None:
    """A million examples, some rates and seeds: the largest excursion stays far below."""
    stream = Stream(rate, seed=int(1000 * rate) + together, together=together)
    test = settled(stream)
    batches = [stream.batch() for _ in range(1_000_000 // 8 // BATCH)]
    assert examples_until_a_trip(test, batches) is None


@pytest.mark.parametrize(("rate", "within"), [(0.002, 2), (0.03, 1), (0.2, 2), (0.4, 10)])
def test_flipped_labels_trip_within_a_few_batches(rate: float, within: int) -> None:
    stream = Stream(rate)
    test = settled(stream)
    flipped = [(1.0 - labels, scores) for labels, scores in (stream.batch() for _ in range(50))]
    seen = examples_until_a_trip(test, flipped)
    assert seen is not None and seen <= within * BATCH


@pytest.mark.parametrize("rate", [0.03, 0.2])
def test_weights_that_collapse_trip(rate: float) -> None:
    """Every score becomes one half, as if the model had been wiped out."""
    stream = Stream(rate)
    test = settled(stream)
    half = np.full(BATCH, 0.5, np.float32)
    batches = [(stream.batch()[0], half) for _ in range(100)]
    seen = examples_until_a_trip(test, batches)
    assert seen is not None and seen <= 12 * BATCH


def test_one_poisoned_batch_trips_though_all_others_are_good() -> None:
    stream = Stream(0.03)
    test = settled(stream)
    labels, scores = stream.batch()
    assert test.add(np.ones_like(labels), scores)


def test_few_wrong_labels_do_not() -> None:
    stream = Stream(0.03)
    test = settled(stream)
    for _ in range(200):
        labels, scores = stream.batch()
        labels[:3] = 1.0 - labels[:3]
        assert not test.add(labels, scores)


def test_a_sale_that_triples_the_clicks_does_not() -> None:
    """The model does not know of it and scores as before; then it learns."""
    before, sale = Stream(0.03), Stream(0.09, seed=1)
    test = settled(before)
    for step in range(200):
        labels, scores = sale.batch()
        late = 0.03 / 0.09 if step < 20 else 1.0
        assert not test.add(labels, (scores * late).astype(np.float32))


def test_a_slow_drift_never_trips_however_far_it_goes() -> None:
    """Scores lose what they know, little by little, and stay calibrated on the whole."""
    stream = Stream(0.1)
    test = settled(stream)
    for step in range(1_500):
        known = 1.0 - step / 1_500
        labels, scores = stream.batch()
        worse = 0.12 + known * (scores - 0.12) if step % 2 else known * scores + 0.1 * (1 - known)
        assert not test.add(labels, worse.astype(np.float32))


def test_what_lasts_and_cannot_be_told_from_chance_becomes_normal() -> None:
    labels = np.tile(np.array([1, 0], np.float32), 500)
    test = LossDriftDetector(LogLoss(), tolerance=0.3)
    for _ in range(10):
        test.add(labels, np.full(1_000, 0.5, np.float32))
    slightly = np.where(labels > 0, 0.4055, 0.5945).astype(np.float32)  # 1.302 times the loss
    for _ in range(HORIZON // 1_000 - 1):
        assert not test.add(labels, slightly)
        assert not test.at_rest
    assert not test.add(labels, slightly)
    assert test.at_rest


def test_nothing_is_judged_before_there_is_something_to_compare_with() -> None:
    stream, test = Stream(0.1), LossDriftDetector(LogLoss(), tolerance=0.3)
    for number in range(7):
        labels, scores = stream.batch()
        assert not test.add(labels if number % 2 else 1.0 - labels, scores)


def test_after_a_trip_what_was_normal_still_is() -> None:
    stream = Stream(0.03)
    test = settled(stream)
    for _ in range(5):
        labels, scores = stream.batch()
        assert test.add(1.0 - labels, scores)
        test.forget()
    assert not test.add(*stream.batch())
    test.start_over()
    for _ in range(7):
        labels, scores = stream.batch()
        assert not test.add(1.0 - labels, scores), "a new normal is being found out"


def test_a_restored_test_decides_as_the_first_would() -> None:
    stream = Stream(0.2)
    test = settled(stream)
    labels, scores = stream.batch(20)
    test.add(1.0 - labels, scores)
    assert not test.at_rest
    other = LossDriftDetector(LogLoss(), tolerance=0.3)
    other.restore(test.state())
    assert other.state() == test.state()
    flipped = [(1.0 - labels, scores) for labels, scores in (stream.batch(20) for _ in range(50))]
    assert examples_until_a_trip(other, flipped) == examples_until_a_trip(test, flipped)
    assert str(other) == str(test)


DELAY_MS = 60_000


class Joined(Stream):
    """The same, whose negatives are known `DELAY_MS` after they were shown, positives at once."""

    def __init__(self, rate: float) -> None:
        super().__init__(rate)
        self.now_ms = 0
        self._late: list[tuple[int, Floats]] = []

    def known(self, seconds: int, rows: int = 20) -> list[tuple[Floats, Floats, int]]:
        """What is known in each of so many seconds, in which `rows` were shown."""
        found = []
        for _ in range(seconds):
            self.now_ms += 1_000
            labels, scores = self.batch(rows) if rows else (np.zeros(0, np.float32),) * 2
            self._late.append((self.now_ms + DELAY_MS, scores[labels == 0]))
            due = [some for at_ms, some in self._late if at_ms <= self.now_ms]
            self._late = [one for one in self._late if one[0] > self.now_ms]
            negatives = np.concatenate([np.zeros(0, np.float32), *due])
            positives = scores[labels > 0]
            both = np.repeat(np.array([1, 0], np.float32), [len(positives), len(negatives)])
            found.append((both, np.concatenate([positives, negatives]), self.now_ms))
        return found


def detector() -> LossDriftDetector:
    return LossDriftDetector(LogLoss(), tolerance=0.3, label_delay_ms=2 * DELAY_MS)


def joined(rate: float) -> tuple[Joined, LossDriftDetector]:
    """A stream, and a test that knows what is normal of it."""
    stream, test = (
        Joined(rate),
        detector(),
    )
    for labels, scores, at_ms in stream.known(900):
        assert not test.add(labels, scores, at_ms)
    return stream, test


@pytest.mark.parametrize("rate", [0.03, 0.1, 0.3])
def test_positives_alone_after_a_pause_are_no_harm(rate: float) -> None:
    stream, test = joined(rate)
    for _ in range(5):
        for rows in (0, 100, 20):  # a pause, and more than ever
            for labels, scores, at_ms in stream.known(2 * DELAY_MS // 1_000, rows):
                assert not test.add(labels, scores, at_ms)


def test_nor_are_they_at_the_very_start_nor_the_negatives_after_them() -> None:
    """The model has learned from positives alone by then, and has to learn better."""
    stream, test = (
        Joined(0.1),
        detector(),
    )
    for second, (labels, scores, at_ms) in enumerate(stream.known(900)):
        wrong = max(0.0, 1.0 - max(0, second - 60) / 60)
        seen = (scores + wrong * (0.99 - scores)).astype(np.float32)
        assert not test.add(labels, seen, at_ms)


def test_negatives_that_do_not_come_at_all_are_harm() -> None:
    stream, test = joined(0.1)
    tripped_ms = None
    began_ms = stream.now_ms
    for labels, scores, at_ms in stream.known(300):
        if test.add(labels[labels > 0], scores[labels > 0], at_ms):
            tripped_ms = at_ms - began_ms
            break
    assert tripped_ms is not None and tripped_ms <= 2 * DELAY_MS + 2_000


@pytest.mark.parametrize(("rate", "within"), [(0.03, 6), (0.1, 4), (0.3, 10)])
def test_flipped_labels_trip_though_positives_in_a_row_wait(rate: float, within: int) -> None:
    stream, test = joined(rate)
    batches = (stream.batch() for _ in range(50))
    seen = 0
    for labels, scores in batches:
        seen += len(labels)
        if test.add(1.0 - labels, scores, stream.now_ms):
            break
    assert seen <= within * BATCH


def test_what_waits_is_kept_in_a_checkpoint() -> None:
    stream, test = joined(0.1)
    labels, scores, at_ms = np.ones(50, np.float32), np.full(50, 0.1, np.float32), stream.now_ms
    assert not test.add(labels, scores, at_ms) and not test.at_rest
    other = detector()
    other.restore(test.state())
    assert other.state() == test.state() and not other.at_rest
    for one in (test, other):
        assert one.add(labels, scores, at_ms + 2 * DELAY_MS)
