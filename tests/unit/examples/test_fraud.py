from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import numpy as np
import pyarrow
import pyarrow.parquet
import pytest

from freshrank import Labelled
from freshrank.actors.messages import Floats
from freshrank.deploy.pipelines.pipeline_file import PipelineFile
from freshrank.examples import fraud
from freshrank.examples.fraud import (
    CARDS,
    DAY_MS,
    KNOWN_AFTER,
    TEST_DAY,
    TRAINED_MS,
    NoFeatures,
    Payment,
    card_precision,
    main,
    pipeline,
    pipeline_with,
    predictions,
    read_payments,
    records,
    window_quality,
)
from freshrank.feature_actors.settings import ShardSettings

BAD = 3
"""A terminal whose payments are frauds."""


def payment(day: float, card: int = 1, fraud: int = 0, number: int = 0) -> Payment:
    return Payment(number, card, 5, 20.0, 17, fraud, TRAINED_MS + int(day * DAY_MS))


def bad_terminal(days: int, a_day: int = 60) -> list[Payment]:
    """Payments of 40 cards at eight terminals, at one of which most are frauds."""
    random = np.random.default_rng(5)
    made = []
    for number in range(days * a_day):
        at = int(random.integers(0, 8))
        fraud = int(at == BAD and random.random() < 0.9)
        amount = float(random.integers(5, 90))
        ts = TRAINED_MS - 7 * DAY_MS + number * DAY_MS // a_day
        made.append(Payment(number, int(random.integers(0, 40)), at, amount, 16, fraud, ts))
    return made


def test_the_file_is_read_as_records_of_the_schema(tmp_path: Path) -> None:
    read = list(records(written(tmp_path, bad_terminal(2))))
    assert [key for key, _, _ in read][:2] == [
        str(one.customer_id).encode() for one in bad_terminal(2)[:2]
    ]
    decoded = [msgspec.json.decode(value, type=Payment) for _, value, _ in read]
    assert [one.ts for one in decoded] == [at_ms for _, _, at_ms in read]
    assert [one.terminal_id for one in decoded] == [one.terminal_id for one in bad_terminal(2)]


def written(folder: Path, payments: list[Payment]) -> Path:
    begin = datetime(1970, 1, 1, tzinfo=UTC)
    times = [(begin + timedelta(milliseconds=one.ts)).replace(tzinfo=None) for one in payments]
    path = folder / "payments.parquet"
    pyarrow.parquet.write_table(
        pyarrow.table(
            {
                "TRANSACTION_ID": [one.payment_id for one in payments],
                "TX_DATETIME": pyarrow.array(times, pyarrow.timestamp("ms")),
                "CUSTOMER_ID": [one.customer_id for one in payments],
                "TERMINAL_ID": [one.terminal_id for one in payments],
                "TX_AMOUNT": [one.amount for one in payments],
                "TX_FRAUD": [one.fraud for one in payments],
            }
        ),
        path,
    )
    return path


def test_the_label_is_learned_a_week_later_and_the_risk_is_known_as_late() -> None:
    label = pipeline.label
    assert isinstance(label, Labelled) and label.known_after == KNOWN_AFTER == "7d"
    (takings,) = pipeline.spec(ShardSettings()).beside
    assert [name for name in takings.columns if name.startswith("risk")] == [
        "risk_1d", "risk_7d", "risk_14d", "risk_30d",
    ]  # fmt: skip


def test_predictions_are_of_the_payments_in_their_order() -> None:
    seen = bad_terminal(30, a_day=400)
    scores = predictions(pipeline, seen)
    known = [one for one in seen if one.ts + 7 * DAY_MS <= seen[-1].ts]
    assert len(scores) == len(known)
    late = slice(len(known) * 3 // 4, None)
    bad = np.array([one.terminal_id == BAD for one in known])[late]
    assert scores[late][bad].mean() > 1.5 * scores[late][~bad].mean()


def test_cards_with_a_known_fraud_are_not_judged() -> None:
    days = [TEST_DAY + 0.1, TEST_DAY + 0.2, TEST_DAY + 1.5]
    seen = [payment(1, card=9, fraud=1), payment(TEST_DAY - 7.5, card=8, fraud=1)]
    seen += [payment(days[0], card=9, fraud=1), payment(days[1], card=8, fraud=1)]
    seen += [payment(days[1], card=7, fraud=1), payment(days[2], card=6)]
    scores: Floats = np.array([0.5, 0.5, 0.0, 0.0, 0.9, 0.1], np.float32)
    found = window_quality(seen, scores)
    assert (found.auc, found.average_precision) == (1.0, 1.0), "9 and 8 would be missed"
    assert found.log_loss == pytest.approx(-np.log(0.9), rel=1e-5)
    assert found.card_precision == pytest.approx(0.5 / CARDS), "one card on the first of two days"


def test_a_card_that_was_found_is_not_looked_into_again() -> None:
    days, cards = np.array([0, 0, 1, 1]), np.array([1, 1, 1, 2])
    frauds: Floats = np.ones(4, np.float32)
    found = card_precision(days, cards, frauds, np.array([0.1, 0.9, 0.9, 0.8]))
    assert found == pytest.approx((1 / CARDS + 1 / CARDS) / 2)


def test_the_comparison_is_printed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(written(tmp_path, bad_terminal(40, a_day=30)))
    lines = capsys.readouterr().out.splitlines()
    assert [line.partition(":")[0] for line in lines] == [
        "amount, card and terminal", "with features of cards", "and with features of terminals",
    ]  # fmt: skip
    assert all("card precision@100" in line for line in lines)


def test_a_baseline_knows_neither_cards_nor_terminals_but_by_their_ids() -> None:
    assert list(pipeline_with(NoFeatures).encoder.layout.dense) == ["never", "amount"]
    assert [one.name for one in pipeline_with(NoFeatures).encoder.layout.fields] == [
        "customer_id", "terminal_id", "band",
    ]  # fmt: skip


def test_payments_without_a_zone_are_of_utc(tmp_path: Path) -> None:
    first, *_ = read_payments(written(tmp_path, bad_terminal(1)))
    assert first.ts == bad_terminal(1)[0].ts


def test_the_file_has_one_pipeline_to_replay() -> None:
    assert PipelineFile.read(Path(fraud.__file__)).load().name == "fraud"
