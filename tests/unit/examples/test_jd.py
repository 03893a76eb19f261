from pathlib import Path

import msgspec
import pyarrow
import pyarrow.parquet
import pytest

from freshrank.examples.jd import (
    INTENT,
    KINDS,
    Action,
    Row,
    merge_rows,
    records,
    running_rates,
)

SECOND = 1_000


def row(second: int, code: str, user_sku: str = "7_3") -> Row:
    return Row(second * SECOND, user_sku, code, "8", "214")


def action(second: int, kind: str, user: str = "7") -> Action:
    return Action(f"{second}", user, 3, 8, 214, kind, second * SECOND)


@pytest.mark.parametrize("codes", ["16", "61", "661", "16666"])
def test_a_page_that_opens_is_one_view_whatever_the_order_of_its_rows(codes: str) -> None:
    (seen,) = merge_rows([row(5, code) for code in codes])
    assert seen.kind == "view"


def test_the_strongest_kind_of_a_second_wins() -> None:
    for weaker, stronger in zip(list(KINDS), list(KINDS)[1:], strict=False):
        for rows in ([row(1, weaker), row(1, stronger)], [row(1, stronger), row(1, weaker)]):
            assert [one.kind for one in merge_rows(rows)] == [KINDS[stronger]]


def test_seconds_and_items_stay_apart_and_come_in_time_order() -> None:
    rows = [row(9, "6"), row(2, "1"), row(2, "1", "7_4"), row(9, "6", "8_3")]
    seen = merge_rows(rows)
    assert [(one.ts // SECOND, one.user_id, one.sku_id) for one in seen] == [
        (2, "7", 3),
        (2, "7", 4),
        (9, "7", 3),
        (9, "8", 3),
    ]
    assert len({one.action_id for one in seen}) == 4


def test_the_file_is_read_sorted_as_records_of_the_schema(tmp_path: Path) -> None:
    path = tmp_path / "actions.parquet"
    columns: dict[str, list[int] | list[str]] = {
        "time": [3 * SECOND, 1 * SECOND],
        "pair_id": ["7_3", "8_4"],
        "type": ["2", "6"],
        "cate": ["8", "5"],
        "br": ["214", "1"],
        "model_id": ["", "27"],
    }
    pyarrow.parquet.write_table(pyarrow.table(columns), path)
    read = list(records(path))
    assert [key for key, _, _ in read] == [b"8", b"7"]
    assert [at_ms for _, _, at_ms in read] == [1 * SECOND, 3 * SECOND]
    decoded = [msgspec.json.decode(value, type=Action) for _, value, _ in read]
    assert [one.kind for one in decoded] == ["click", "cart"]
    assert (decoded[1].category_id, decoded[1].brand_id) == (8, 214)


def test_baselines_score_each_action_before_it_is_counted() -> None:
    seen = [action(1, "view"), action(2, "cart")]
    found = running_rates(seen, 1)
    # The cart is scored by the rate that one looking action leaves: 1 in 51.
    assert found["log_loss_base_rate"] == pytest.approx(3.9318, abs=1e-3)
    assert found["log_loss_last_kind"] == pytest.approx(3.9120, abs=1e-3)  # first after a view


def test_the_last_kind_of_the_same_shopper_predicts_what_follows_it() -> None:
    seen = []
    for round_ in range(0, 400, 2):  # two shoppers: one puts into the cart after each view
        seen += [action(round_, "view", "a"), action(round_ + 1, "cart", "a")]
        seen += [action(round_, "click", "b"), action(round_ + 1, "click", "b")]
    found = running_rates(seen, len(seen) // 2)
    assert found["auc_last_kind"] == 1.0
    assert found["log_loss_last_kind"] < found["log_loss_base_rate"]


def test_taking_out_of_the_cart_is_not_predicted_and_is_remembered() -> None:
    assert "uncart" not in INTENT
    with_it = running_rates([action(1, "view"), action(2, "uncart"), action(3, "cart")], 0)
    without = running_rates([action(1, "view"), action(3, "cart")], 0)
    assert with_it["log_loss_base_rate"] == without["log_loss_base_rate"]
