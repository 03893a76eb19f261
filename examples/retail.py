"""Demand: how much of each product is sold on the next day that the shop trades.

    freshrank replay examples/retail.py online_retail.csv.gz

    python -m freshrank.examples.retail online_retail.csv.gz

The data are the invoice lines of an online shop. They are added up to one event for each product
and day on which the shop traded, from the product's first sale on; the events of a day have one
time, its evening. The label is what was sold that day. It is predicted from the days before: the
features are those from just before the event, and `known_after` keeps the label from the learner
until the next day's events.

What is learned is the median of the logarithm, whose power is the median of the pieces: orders of
ten thousand pieces do not move it, and it is the forecast with the least absolute error.

The second command prints the mean absolute error in pieces with and without features, and that of
two forecasts which learn nothing: what was sold on the same day of the week before, and the mean of
the last four weeks.

The data: UCI Online Retail (Chen, Sain, Guo: "Data mining for the online retail industry", 2012),
as CSV.
"""

from __future__ import annotations

import csv
import gzip
import re
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import numpy as np

from freshrank import (
    AutoAdagrad,
    Count,
    Entity,
    FeatureView,
    InverseRootDecay,
    Labelled,
    LinearRegression,
    Mean,
    Pipeline,
    QuantileLoss,
    Stream,
    Sum,
    TimeSince,
    col,
)
from freshrank.actors.messages import Doubles
from freshrank.deploy.history.records import History
from freshrank.deploy.wiring.replay import replayed_predictions

KNOWN_AFTER = "1h"
PRODUCTS = 300
"""Those that were sold on most days; of the rest most days are zeros."""
LEARNED_SHARE = 0.2
"""Of the events, the first ones, which are learned and not judged."""
# A product's code is five digits, perhaps with letters; others are postage, samples, fees.
_PRODUCT = re.compile(r"\d{5}[A-Za-z]*")


class Demand(msgspec.Struct):
    """An event of the stream: what was sold of a product on a day."""

    day_id: str
    product: str
    weekday: int
    quantity: float
    """Pieces; 0 where nothing was sold."""
    log_quantity: float
    """log1p of it."""
    ts: int
    """The evening of the day, in ms since the Unix epoch."""


product = Entity("product", key="product")
demand = Stream("demand", id="day_id", time="ts", key=product, schema=Demand)


class Sales(FeatureView):
    """What was sold of a product, up to the day before, in whole days."""

    entity, source = product, demand
    sold = Sum("quantity", windows=["1d", "7d", "28d"], hop="1d")
    days = Count(where=col.quantity > 0.0, windows=["7d", "28d"], hop="1d")
    # Of the label itself: it ends with the day before, when that is known.
    usual = Mean("log_quantity", windows=["7d", "28d", "91d"], hop="1d", delay=KNOWN_AFTER)
    # The same day of the week: one week ago, and two.
    week_ago = Sum("quantity", windows=["1d"], hop="1d", delay="6d")
    fortnight_ago = Sum("quantity", windows=["1d"], hop="1d", delay="13d")


class NoFeatures(FeatureView):
    """A baseline: a view with a single feature, which no event changes."""

    entity, source = product, demand
    never = TimeSince(where=col.product == "")


pipeline = Pipeline(
    "retail",
    stream=demand,
    features=[Sales],
    context=["weekday"],
    label=Labelled(target="log_quantity", known_after=KNOWN_AFTER),
    model=LinearRegression(loss=QuantileLoss(0.5)),
    optimizer=AutoAdagrad(schedule=InverseRootDecay(5_000)),
)


def pipeline_with(*views: type[FeatureView]) -> Pipeline:
    """Return the pipeline with other features. A file that is replayed declares one pipeline."""
    return replace(pipeline, features=views)


# Reading the data.


def read_lines(path: Path) -> Iterator[tuple[datetime, str, int]]:
    """Read the day, the product and the pieces of each invoice line that sold a product."""
    opened = gzip.open if path.suffix == ".gz" else open
    with opened(path, "rt", encoding="utf-8", errors="replace", newline="") as file:
        for row in csv.DictReader(file):
            pieces, code = int(row["Quantity"]), row["StockCode"].upper()
            if pieces > 0 and _PRODUCT.fullmatch(code):
                at = datetime.fromisoformat(row["InvoiceDate"])
                yield at.replace(hour=20, minute=0, second=0, tzinfo=UTC), code, pieces


def read_demand(path: Path) -> list[Demand]:
    """Read the demand of the most sold products on each day of trade, in the order of time."""
    sold: Counter[tuple[datetime, str]] = Counter()
    for day, code, pieces in read_lines(path):
        sold[day, code] += pieces
    on_days = Counter(code for _, code in sold)
    kept = sorted(code for code, _ in on_days.most_common(PRODUCTS))
    begin: dict[str, datetime] = {}
    for day, code in sorted(sold):
        begin.setdefault(code, day)
    return [
        Demand(
            f"{code}_{day:%Y%m%d}",
            code,
            day.weekday(),
            float(sold[day, code]),
            float(np.log1p(sold[day, code])),
            int(day.timestamp() * 1000),
        )
        for day in sorted({day for day, _ in sold})
        for code in kept
        if begin[code] <= day
    ]


def records(path: Path) -> Iterator[tuple[bytes, bytes, int]]:
    """Yield key, value and event time (ms) of each record to replay, the oldest first."""
    for one in read_demand(path):
        yield one.product.encode(), msgspec.json.encode(one), one.ts


# The comparison.


def forecasts(seen: list[Demand]) -> dict[str, Doubles]:
    """What forecasts that learn nothing say of each event: float64[n] by their names.

    Days are those of trade: the same day of the week before may lie in the shop's holidays, when
    nothing was sold.
    """
    before: dict[tuple[str, int], float] = {}
    seasonal, mean = [], []
    day_ms = 86_400_000
    for one in seen:
        past = [before.get((one.product, one.ts - back * day_ms)) for back in range(1, 29)]
        known = [value for value in past if value is not None]
        seasonal.append(past[6] or 0.0)
        mean.append(sum(known) / len(known) if known else 0.0)
        before[one.product, one.ts] = one.quantity
    return {
        "the same day of the week before": np.array(seasonal),
        "the mean of four weeks": np.array(mean),
    }


def forecast(pipeline: Pipeline, history: History) -> Doubles:
    """float64[m]: the pieces that a pipeline predicts, as far as labels are known by the end."""
    return np.expm1(replayed_predictions(pipeline, history).astype(np.float64))


def mean_error(seen: list[Demand], predicted: Doubles) -> float:
    """The mean absolute error in pieces, of all but the first events, of predictions float64[m]."""
    truth = np.array([one.quantity for one in seen[: len(predicted)]])
    first = int(LEARNED_SHARE * len(seen))
    return float(np.abs(truth - predicted)[first:].mean())


def main(path: Path) -> None:
    """Print the mean absolute error with and without features, and of what learns nothing."""
    seen = read_demand(path)
    history = History(
        [one.product.encode() for one in seen],
        [msgspec.json.encode(one) for one in seen],
        np.array([one.ts for one in seen], dtype=np.int64),
    )
    learned = {
        "product and day of the week": forecast(pipeline_with(NoFeatures), history),
        "with features": forecast(pipeline, history),
    }
    known = min(map(len, learned.values()))  # the label of the last day is not known yet
    for name, predicted in {**forecasts(seen), **learned}.items():
        error = mean_error(seen, predicted[:known])
        print(f"{name}: mean absolute error {error:.2f}", flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
