"""The JD.com clickstream: predict whether a shopper's next action shows intent to buy.

    freshrank replay examples/jd.py bo_action.parquet

This file shows how to evaluate a pipeline on your own history. In addition to the pipeline it has a
function `records`, which reads the data, and an optional function `report`, which returns the
quality of baselines to compare with. The replay plays the records in event time, scores each record
before the model learns it, and prints the quality of the scores.

**Why this target.** The obvious target, click against view, is an artefact of how the site logs.
Opening a page writes a view and up to five clicks (a click for each region of the page) with the
same second, in an order that the file does not keep: 27 % of all rows share their second with the
row before. A model that knows the time since the last row reaches an AUC of 0.87 without knowing
anything about the shopper. So this file merges all rows with the same shopper, item and second into
a single *action* of the strongest kind among them, which leaves 41,565 actions of 89,187 rows. Just
before each action the model predicts whether it will show **intent** (put into the cart, ordered,
followed: 4.2 % of the actions) or not (page opened, clicked). A shop can use the prediction to
decide which shoppers to offer help, and when. Taking an item out of the cart is neither: it is not
predicted, but it counts as a feature.

The data: 4paradigm/OpenMLDB, demo/jd-recommendation, file `bo_action.parquet`.
"""

import asyncio
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import msgspec
import numpy as np

from freshrank import (
    Count,
    Entity,
    FeatureView,
    Labelled,
    LastK,
    LogisticRegression,
    Pipeline,
    Stream,
    TimeSince,
    col,
)
from freshrank.deploy.history.records import History
from freshrank.deploy.wiring.replay import frozen_after, replay
from freshrank.learner.evaluation.metrics import exact_auc
from freshrank.learner.models.losses import LogLoss

KINDS = {"6": "click", "1": "view", "5": "follow", "3": "uncart", "2": "cart", "4": "order"}
"""The kind of action of each code in the file, from the weakest to the strongest."""
INTENT = ("follow", "cart", "order")
"""The kinds that show intent: the positive label."""

# Many short windows let a linear model fit any curve over the time since the last view or click:
# an action within seconds of a view has another meaning than an action minutes later.
WINDOWS = ["2s", "6s", "20s", "1m", "3m", "10m", "1h", "1d", "7d"]


class Action(msgspec.Struct):
    """An event of the stream: the action of a shopper on an item within a second."""

    action_id: str
    user_id: str
    sku_id: int
    category_id: int
    brand_id: int
    kind: str
    """A value of `KINDS`."""
    ts: int
    """Event time in ms since the Unix epoch, a multiple of 1,000: the file has whole seconds."""


user = Entity("user", key="user_id")
actions = Stream("jd", id="action_id", time="ts", key=user, schema=Action)


class Shopping(FeatureView):
    """Features of a shopper: the number of actions of each kind, and the time since the last."""

    entity, source = user, actions
    ever = Count(windows=["90d"])
    views = Count(where=col.kind == "view", windows=WINDOWS)
    clicks = Count(where=col.kind == "click", windows=WINDOWS)
    intents = Count(where=col.kind.isin(INTENT), windows=WINDOWS)
    uncarts = Count(where=col.kind == "uncart", windows=["10m", "1d"])
    kinds = LastK("kind", k=3)
    idle = TimeSince()


class NoFeatures(FeatureView):
    """A baseline: a view with a single feature, which no event changes."""

    entity, source = user, actions
    never = TimeSince(where=col.kind == "")


def pipeline_with(view: type[FeatureView]) -> Pipeline:
    """Return the pipeline with the features of `view`."""
    return Pipeline(
        "jd",
        stream=actions,
        features=[view],
        # The event's own fields are inputs too: the item, its category and its brand.
        context=["sku_id", "category_id", "brand_id"],
        # The label is a field of the event itself. The model predicts it from the features as they
        # were just before the event, so an action is no input of its own prediction.
        label=Labelled(positive=col.kind.isin(INTENT), among=col.kind != "uncart"),
        model=LogisticRegression(base_rate=0.04),
    )


pipeline = pipeline_with(Shopping)


# Reading the data. `freshrank replay` calls `records`, which uses the other functions.


class Row(NamedTuple):
    """The columns of a row of the file that are used."""

    ts: int
    user_sku: str
    code: str
    category: str
    brand: str


def merge_rows(rows: list[Row]) -> list[Action]:
    """Merge the rows with the same shopper, item and second into an action; ordered by time.

    The strongest kind wins:

    >>> merged = merge_rows([Row(2000, "7_3", "6", "8", "1"), Row(2000, "7_3", "1", "8", "1")])
    >>> [(action.user_id, action.sku_id, action.kind) for action in merged]
    [('7', 3, 'view')]
    """
    strength = list(KINDS)
    strongest: dict[tuple[int, str], Row] = {}
    for row in rows:
        known = strongest.get((row.ts, row.user_sku))
        if known is None or strength.index(row.code) > strength.index(known.code):
            strongest[row.ts, row.user_sku] = row
    return [
        Action(
            action_id=f"{row.user_sku}_{row.ts}",
            user_id=row.user_sku.split("_")[0],
            sku_id=int(row.user_sku.split("_")[1]),
            category_id=int(row.category),
            brand_id=int(row.brand),
            kind=KINDS[row.code],
            ts=row.ts,
        )
        for _, row in sorted(strongest.items())
    ]


def read_actions(path: Path) -> list[Action]:
    """Read the actions of `bo_action.parquet` and sort them by time: its rows are in no order."""
    import pyarrow.parquet  # noqa: PLC0415 - `freshrank run` needs the pipeline alone

    columns = ["time", "pair_id", "type", "cate", "br"]
    table = pyarrow.parquet.read_table(path, columns=columns)
    values = (table[name].to_pylist() for name in columns)
    return merge_rows([Row(*row) for row in zip(*values, strict=True)])


def records(path: Path) -> Iterator[tuple[bytes, bytes, int]]:
    """Yield key, value and event time (ms) of each record to replay, the oldest first."""
    for action in read_actions(path):
        yield action.user_id.encode(), msgspec.json.encode(action), action.ts


# Baselines: the scores of the replay should be better than theirs.


def report(path: Path) -> dict[str, float]:
    """Return the quality of three baselines, over the actions that the frozen copy scores too.

    The baselines are the running rate of intent, the running rate after each kind of last action,
    and the same model without features, whose only inputs are item, category and brand.
    """
    seen = read_actions(path)
    history = History(
        [action.user_id.encode() for action in seen],
        [msgspec.json.encode(action) for action in seen],
        np.array([action.ts for action in seen], dtype=np.int64),
    )
    context_only = asyncio.run(replay(pipeline_with(NoFeatures), history))
    return {
        **running_rates(seen, frozen_after(len(seen))),
        "auc_context_only": float(str(context_only["auc_live"])),
        "log_loss_context_only": float(str(context_only["log_loss_live"])),
    }


def running_rates(seen: Sequence[Action], begin: int) -> dict[str, float]:
    """Return the quality of two running rates of intent over ``seen[begin:]``.

    The first is the rate over all actions, the second the rate after the shopper's last kind of
    action. Each action is scored before it is counted, and a rate starts at 1 positive of 50.
    """
    counts: dict[str, tuple[float, float]] = {}
    last_kind: dict[str, str] = {}
    labels: list[float] = []
    overall: list[float] = []
    by_last_kind: list[float] = []
    for at, action in enumerate(seen):
        last = last_kind.get(action.user_id, "none")
        last_kind[action.user_id] = action.kind
        if action.kind == "uncart":
            continue
        label = float(action.kind in INTENT)
        for scores, group in ((overall, "all"), (by_last_kind, last)):
            positives, total = counts.get(group, (1.0, 50.0))
            counts[group] = positives + label, total + 1.0
            if at >= begin:
                scores.append(positives / total)
        if at >= begin:
            labels.append(label)
    truth = np.array(labels, dtype=np.float32)
    base, last_scores = (np.array(rate, dtype=np.float32) for rate in (overall, by_last_kind))
    loss = LogLoss()
    return {
        "log_loss_base_rate": float(loss.value(truth, base).mean()),
        "auc_last_kind": exact_auc(truth, last_scores),
        "log_loss_last_kind": float(loss.value(truth, last_scores).mean()),
    }
