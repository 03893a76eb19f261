"""Four real data sets as streams of raw inputs, each from its place in the folder of all."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.orc
import pyarrow.parquet

from freshrank.benchmarks.online.stream_file import LabelledStream, RawInputs
from freshrank.benchmarks.quality.criteo_data import CATEGORIES, COUNTS
from freshrank.examples.jd import INTENT, read_actions

FRAUD_BEGINS = datetime(2018, 7, 25)  # noqa: DTZ001 - the file's times have no zone
"""The first day of the window that the fraud detection handbook trains on."""


def criteo(folder: Path, rows: int) -> LabelledStream:
    """Clicks, of ``ctr/criteo/part-*.orc``: 13 counts and 26 categories."""
    found: list[RawInputs] = []
    labels: list[float] = []
    for path in sorted((folder / "ctr" / "criteo").glob("part-*.orc")):
        for row in pyarrow.orc.read_table(path).to_pylist()[: rows - len(found)]:
            there: dict[str, float | str] = {
                name: float(row[name][0]) for name in COUNTS if row[name]
            }
            there |= {name: str(int(row[name][0])) for name in CATEGORIES if row[name]}
            found.append(there)
            labels.append(float(row["label"][0]))
    return _binary("criteo", found, labels)


def jd(folder: Path, rows: int) -> LabelledStream:
    """Whether an action shows intent, of ``clickstream/jd/bo_action.parquet``: `examples/jd.py`."""
    seen = read_actions(folder / "clickstream" / "jd" / "bo_action.parquet")
    actions = [action for action in seen if action.kind != "uncart"][:rows]
    found: list[RawInputs] = [
        {
            "user": action.user_id,
            "sku": str(action.sku_id),
            "category": str(action.category_id),
            "brand": str(action.brand_id),
            "hour": float(datetime.fromtimestamp(action.ts / 1000, UTC).hour),
        }
        for action in actions
    ]
    labels = [float(action.kind in INTENT) for action in actions]
    return _binary("jd", found, labels, [action.ts / 1000 for action in actions])


def movielens(folder: Path, rows: int) -> LabelledStream:
    """Whether a rating is 4 or 5, of ``ratings/ml-100k``, in the order of time."""
    base = folder / "ratings" / "ml-100k"
    users = {row["user_id"]: row for row in _tokens(base / "ml-100k.user")}
    items = {row["item_id"]: row for row in _tokens(base / "ml-100k.item")}
    seen = _tokens(base / "ml-100k.inter")
    ratings = sorted(seen, key=lambda row: float(row["timestamp"]))[:rows]
    return _binary(
        "movielens",
        [_rating(row, users[row["user_id"]], items[row["item_id"]]) for row in ratings],
        [float(float(row["rating"]) >= 4.0) for row in ratings],
        [float(row["timestamp"]) for row in ratings],
    )


def _rating(row: Mapping[str, str], user: Mapping[str, str], item: Mapping[str, str]) -> RawInputs:
    found: dict[str, float | str] = {
        "user": row["user_id"],
        "item": row["item_id"],
        "gender": user["gender"],
        "occupation": user["occupation"],
        "age": float(user["age"]),
    }
    if item["release_year"].isdecimal():
        found["year"] = float(item["release_year"])
    return found


def _tokens(path: Path) -> Iterable[dict[str, str]]:
    """The rows of a file of RecBole: columns between tabs, the first line names them."""
    head, *lines = path.read_text(encoding="utf-8").splitlines()
    names = [name.partition(":")[0] for name in head.split("\t")]
    return [dict(zip(names, line.split("\t"), strict=True)) for line in lines]


def fraud(folder: Path, rows: int) -> LabelledStream:
    """Whether a transaction is a fraud, of ``fraud/handbook_simulated_tx_2018.parquet``."""
    path = folder / "fraud" / "handbook_simulated_tx_2018.parquet"
    later = [("TX_DATETIME", ">=", FRAUD_BEGINS)]
    batches = pyarrow.parquet.read_table(path, filters=later).to_batches(max_chunksize=rows)
    seen: list[dict[str, Any]] = []
    for batch in batches:
        if len(seen) < rows:
            seen += batch.to_pylist()[: rows - len(seen)]
    found: list[RawInputs] = [
        {
            "customer": str(row["CUSTOMER_ID"]),
            "terminal": str(row["TERMINAL_ID"]),
            "amount": row["TX_AMOUNT"],
            "hour": float(row["TX_DATETIME"].hour),
            "weekday": str(row["TX_DATETIME"].weekday()),
        }
        for row in seen
    ]
    times_s = [row["TX_DATETIME"].replace(tzinfo=UTC).timestamp() for row in seen]
    return _binary("fraud", found, [float(row["TX_FRAUD"]) for row in seen], times_s)


def _binary(
    name: str, rows: list[RawInputs], labels: list[float], times_s: list[float] | None = None
) -> LabelledStream:
    times = None if times_s is None else np.array(times_s)
    return LabelledStream(name, "binary", (), rows, np.array(labels, np.float32), times)


REAL: Mapping[str, Callable[[Path, int], LabelledStream]] = {
    "criteo": criteo,
    "jd": jd,
    "movielens": movielens,
    "fraud": fraud,
}
"""By name: the stream of at most so many rows, below the folder of all data sets."""
