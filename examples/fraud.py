"""Card fraud: payments of cards at terminals, whose label is known a week later.

    freshrank replay examples/fraud.py handbook_simulated_tx_2018.parquet

    python -m freshrank.examples.fraud handbook_simulated_tx_2018.parquet

The first command replays all of it. The second compares what the features add, on the window of the
handbook that the data is from: what was learned by then predicts the payments of 8 to 14 August,
each when it came, while the labels of payments go on to be learned a week after them.

**Features.** Of a card the number and the mean amount of its payments; of a terminal the number of
payments, and the share of them that were frauds, over windows that end a week before the payment:
of what came later nobody knew. A feature that read the label sooner would be refused.

**Quality** is that of the handbook: cards with a fraud that was known are left out. The card
precision is the share of frauds among the 100 cards of a day that seem worst, each found once.

The data: Fraud-Detection-Handbook/simulated-data-raw (Le Borgne, Siblini, Lebichot, Bontempi:
"Reproducible machine learning for credit card fraud detection", 2022), as one Parquet file.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import numpy as np

from freshrank import (
    AutoAdagrad,
    Count,
    DeepFM,
    Entity,
    FeatureView,
    InverseRootDecay,
    Labelled,
    Mean,
    Pipeline,
    SmoothedRate,
    StandardDeviation,
    Stream,
    TimeSince,
    col,
)
from freshrank.actors.messages import Doubles, Floats, Ints
from freshrank.deploy.config.settings import Settings
from freshrank.deploy.history.records import History
from freshrank.deploy.wiring.replay import replayed_predictions
from freshrank.learner.evaluation.metrics import exact_auc

DAY_MS = 86_400_000
WINDOWS = ["1d", "7d", "30d"]
KNOWN_AFTER = "7d"
LEARNED_FROM_MS = int(datetime(2018, 5, 8, tzinfo=UTC).timestamp() * 1000)
"""The file begins in April: from here on the longest windows are whole."""


class Payment(msgspec.Struct):
    """An event of the stream."""

    payment_id: int
    customer_id: int
    terminal_id: int
    amount: float
    band: int
    """The amount in four steps to each doubling: an id, for what a curve over amounts misses."""
    fraud: int
    """1 or 0, of which nobody knew when it was paid."""
    ts: int
    """Event time in ms since the Unix epoch."""


customer = Entity("customer", key="customer_id")
terminal = Entity("terminal", key="terminal_id")
payments = Stream("payments", id="payment_id", time="ts", key=customer, schema=Payment)


class Spending(FeatureView):
    """What is usual of a customer's card."""

    entity, source = customer, payments
    paid = Count(windows=WINDOWS)
    spent = Mean("amount", windows=WINDOWS)
    spread = StandardDeviation("amount", windows=["30d"])


class Takings(FeatureView):
    """What is known of a terminal: how much is paid there, and how much of that was a fraud."""

    entity, source = terminal, payments
    taken = Count(windows=WINDOWS)
    risk = SmoothedRate(
        of=col.fraud == 1,
        among=col.amount >= 0.0,
        expected=0.008,
        prior=1,
        windows=["1d", "7d", "14d", "30d"],
        hop="6h",
        delay=KNOWN_AFTER,
    )


class NoFeatures(FeatureView):
    """A baseline: a view with a single feature, which no event changes."""

    entity, source = customer, payments
    never = TimeSince(where=col.amount < 0.0)


pipeline = Pipeline(
    "fraud",
    stream=payments,
    features=[Spending, Takings],
    context=["terminal_id", "amount", "band"],
    label=Labelled(
        positive=col.fraud == 1, among=col.ts >= LEARNED_FROM_MS, known_after=KNOWN_AFTER
    ),
    # Frauds are few, so steps have to become small; and ids of cards and terminals, each of which
    # is in few examples, are held back.
    model=DeepFM(embedding_dim=4, hidden=(64, 32)),
    optimizer=AutoAdagrad(l1=0.001, l2=0.01, schedule=InverseRootDecay(5_000)),
)


def pipeline_with(*views: type[FeatureView]) -> Pipeline:
    """Return the pipeline with other features. A file that is replayed declares one pipeline."""
    return replace(pipeline, features=views)


def band_of(amount: float) -> int:
    """The number of the quarter of an octave that an amount lies in; of less than 1 it is 0.

    >>> [band_of(amount) for amount in (0.5, 1.0, 2.0, 220.0, 256.0)]
    [0, 0, 4, 31, 32]
    """
    return int(4.0 * np.log2(max(amount, 1.0)))


def read_payments(path: Path) -> Iterator[Payment]:
    """Read the payments of the file, which has them in the order of time."""
    import pyarrow.parquet  # noqa: PLC0415 - `freshrank run` needs the pipeline alone

    names = ["TRANSACTION_ID", "CUSTOMER_ID", "TERMINAL_ID", "TX_AMOUNT", "TX_FRAUD", "TX_DATETIME"]
    for batch in pyarrow.parquet.read_table(path, columns=names).to_batches():
        columns = (batch.column(name).to_pylist() for name in names)
        for number, customer_id, terminal_id, amount, fraud, at in zip(*columns, strict=True):
            ts = int(at.replace(tzinfo=UTC).timestamp() * 1000)
            yield Payment(number, customer_id, terminal_id, amount, band_of(amount), fraud, ts)


def records(path: Path) -> Iterator[tuple[bytes, bytes, int]]:
    """Yield key, value and event time (ms) of each record to replay, the oldest first."""
    for payment in read_payments(path):
        yield str(payment.customer_id).encode(), msgspec.json.encode(payment), payment.ts


# The comparison on the handbook's window.

TRAINED_MS = int(datetime(2018, 7, 25, tzinfo=UTC).timestamp() * 1000)
"""The handbook trains on the week from here, waits a week, and tests on the week after it."""
TEST_DAY, TEST_DAYS = 14, 7
CARDS = 100
"""As many cards of a day are looked into."""
EXAMPLES_OF_A_STEP = 1_024


@dataclass(frozen=True)
class WindowQuality:
    """Of the predictions for the payments of the test week."""

    auc: float
    log_loss: float
    average_precision: float
    card_precision: float
    """Of the 100 cards of each day."""

    def __str__(self) -> str:
        return (
            f"AUC {self.auc:.3f}, log loss {self.log_loss:.4f}, average precision "
            f"{self.average_precision:.3f}, card precision@{CARDS} {self.card_precision:.3f}"
        )


def predictions(pipeline: Pipeline, seen: list[Payment]) -> Floats:
    """float32[m]: of the payments that are learned, those with a label known by the last."""
    history = History(
        [str(one.customer_id).encode() for one in seen],
        [msgspec.json.encode(one) for one in seen],
        np.array([one.ts for one in seen], dtype=np.int64),
    )
    settings = Settings.model_validate({"learner": {"batch_examples": EXAMPLES_OF_A_STEP}})
    return replayed_predictions(pipeline, history, settings)


def window_quality(seen: list[Payment], scores: Floats) -> WindowQuality:
    """Judge the scores float32[m] of `predictions` by the rules of the handbook."""
    part = [one for one in seen if one.ts >= LEARNED_FROM_MS][: len(scores)]
    days = np.array([(one.ts - TRAINED_MS) // DAY_MS for one in part])
    cards = np.array([one.customer_id for one in part])
    frauds = np.array([one.fraud for one in part], dtype=np.float32)
    places = _judged(days, cards, frauds)
    labels, predicted = frauds[places], scores[places].astype(np.float64)
    bounded = np.clip(predicted, 1e-7, 1.0 - 1e-7)
    return WindowQuality(
        exact_auc(labels, scores[places]),
        float(-np.log(np.where(labels > 0.5, bounded, 1.0 - bounded)).mean()),
        average_precision(labels, predicted),
        card_precision(days[places], cards[places], frauds[places], predicted),
    )


def _judged(days: Ints, cards: Ints, frauds: Floats) -> Ints:
    """The places of the test week's payments by cards of which no fraud is known by their day.

    Known are the frauds of the week of training, and those of a week before each day.
    """
    known = set(cards[(days >= 0) & (days < 7) & (frauds > 0.5)].tolist())
    found = []
    for day in range(TEST_DAY, TEST_DAY + TEST_DAYS):
        known |= set(cards[(days == day - 8) & (frauds > 0.5)].tolist())
        here = np.flatnonzero(days == day)
        found.append(here[~np.isin(cards[here], list(known))])
    return np.concatenate(found)


def average_precision(labels: Floats, predicted: Doubles) -> float:
    """The mean, over the positives, of the share of positives among what is predicted as high.

    >>> average_precision(np.array([1, 0, 1, 0], np.float32), np.array([0.9, 0.8, 0.7, 0.1]))
    0.8333333333333333
    """
    ordered = labels[np.argsort(-predicted, kind="stable")].astype(np.float64)
    precision = ordered.cumsum() / np.arange(1, len(ordered) + 1)
    return float((precision * ordered).sum() / ordered.sum())


def card_precision(days: Ints, cards: Ints, frauds: Floats, predicted: Doubles) -> float:
    """The mean, over the days, of the share of frauds among the cards that seem worst.

    A card is as bad as its worst payment of the day; one that was found is not looked into again.
    """
    found, shares = set[int](), []
    for day in np.unique(days):
        here = np.flatnonzero((days == day) & ~np.isin(cards, list(found)))
        worst = here[np.argsort(-predicted[here], kind="stable")]
        looked_into = list(dict.fromkeys(cards[worst].tolist()))[:CARDS]
        caught = set(cards[here[frauds[here] > 0.5]].tolist()) & set(looked_into)
        shares.append(len(caught) / CARDS)
        found |= caught
    return float(np.mean(shares))


def main(path: Path) -> None:
    """Print what the features add, on the handbook's window."""
    end_ms = TRAINED_MS + (TEST_DAY + TEST_DAYS + 8) * DAY_MS  # the labels of all are known then
    seen = [payment for payment in read_payments(path) if payment.ts < end_ms]
    for name, one in (
        ("amount, card and terminal", pipeline_with(NoFeatures)),
        ("with features of cards", pipeline_with(Spending)),
        ("and with features of terminals", pipeline),
    ):
        print(f"{name}: {window_quality(seen, predictions(one, seen))}", flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
