"""The JD.com clickstream: is what a shopper does next a step towards buying it.

    freshrank replay examples/jd.py bo_action.parquet

What is predicted, and why. The obvious target, click against view, is an artefact of how the
site logs: opening a page writes one view and up to five clicks (one for each of its regions)
with the same second, in an order that the file does not keep, and 27 % of all rows share their
second with the row before. A model that knows how long ago the last row was reaches an AUC of
0.87 on it without knowing anything about the shopper. So all that a shopper does with one item
within one second becomes *one* action here, of the strongest kind among its rows, which leaves
41,565 actions of 89,187 rows; and the model predicts, just before each action, whether it will be
one that shows **intent** (put into the cart, ordered, followed: 4.2 %) or mere looking (page
opened, clicked on). That is worth knowing: it tells whom to nudge, and when. Taking something out
of the cart is neither; it is not predicted, but it counts as a feature.

The data: 4paradigm/OpenMLDB, demo/jd-recommendation; `bo_action.parquet`.
"""

import asyncio
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import msgspec
import numpy as np

from freshrank import (
    FTRL,
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
from freshrank.deploy.pipelines.history import History
from freshrank.deploy.wiring.replay import frozen_after, replay
from freshrank.learner.evaluation.metrics import exact_auc
from freshrank.learner.models.losses import LogLoss

KINDS = {"6": "click", "1": "view", "5": "follow", "3": "uncart", "2": "cart", "4": "order"}
"""The data's codes and our names, the weakest first."""
INTENT = ("follow", "cart", "order")
PACE = ["2s", "6s", "20s", "1m", "3m", "10m", "1h", "1d", "7d"]


class Action(msgspec.Struct):
    """What a shopper did with one item in one second."""

    action_id: str
    user_id: str
    sku_id: int
    category_id: int
    brand_id: int
    kind: str
    ts: int
    """Event time, ms since the Unix epoch; a whole second."""


user = Entity("user", key="user_id")
actions = Stream("jd", id="action_id", time="ts", key=user, schema=Action)


class Shopping(FeatureView):
    """How far this shopper has come, and how fast.

    The many short windows let a linear model draw any curve over the time since the last view,
    click or step: within seconds of one, the next means something else than minutes later.
    """

    entity, source = user, actions
    ever = Count(windows=["90d"])
    views = Count(where=col.kind == "view", windows=PACE)
    clicks = Count(where=col.kind == "click", windows=PACE)
    intents = Count(where=col.kind.isin(INTENT), windows=PACE)
    uncarts = Count(where=col.kind == "uncart", windows=["10m", "1d"])
    kinds = LastK("kind", k=3)
    idle = TimeSince()


def make(view: type[FeatureView]) -> Pipeline:
    """The pipeline over one feature view."""
    return Pipeline(
        "jd",
        stream=actions,
        features=[view],
        context=["sku_id", "category_id", "brand_id"],
        label=Labelled(positive=col.kind.isin(INTENT), among=col.kind != "uncart"),
        model=LogisticRegression(base_rate=0.04),
        optimizer=FTRL(alpha=0.2, l2=1.0),
    )


pipeline = make(Shopping)


class Row(NamedTuple):
    """One row of the file, as far as it is used."""

    ts: int
    user_sku: str
    code: str
    category: str
    brand: str


def collapsed(rows: list[Row]) -> list[Action]:
    """One action for each second in which a shopper did something with an item, in time order.

    >>> seen = collapsed([Row(2000, "7_3", "6", "8", "1"), Row(2000, "7_3", "1", "8", "1")])
    >>> [(one.user_id, one.sku_id, one.kind) for one in seen]
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
    """The actions of `bo_action.parquet`, in time order (the file is in none)."""
    import pyarrow.parquet  # noqa: PLC0415 - of use to this loader alone

    columns = ["time", "pair_id", "type", "cate", "br"]
    table = pyarrow.parquet.read_table(path, columns=columns)
    values = (table[one].to_pylist() for one in columns)
    return collapsed([Row(*row) for row in zip(*values, strict=True)])


def records(path: Path) -> Iterator[tuple[bytes, bytes, int]]:
    """Key, value and time (ms) of each record to replay, oldest first."""
    for action in read_actions(path):
        yield action.user_id.encode(), msgspec.json.encode(action), action.ts


def report(path: Path) -> dict[str, float]:
    """What to compare the replay with, over the same actions that the frozen copy scores too.

    The running base rate, the running rate after each kind of last action of the shopper, and
    the same model without the features: what a score knows of item, category and brand alone.
    """
    seen = read_actions(path)
    begin = frozen_after(len(seen))
    history = History(
        [one.user_id.encode() for one in seen],
        [msgspec.json.encode(one) for one in seen],
        np.array([one.ts for one in seen], dtype=np.int64),
    )
    context_only = asyncio.run(replay(make(Nothing), history))
    return {
        **baselines(seen, begin),
        "auc_context_only": float(str(context_only["auc_live"])),
        "log_loss_context_only": float(str(context_only["log_loss_live"])),
    }


class Nothing(FeatureView):
    """A view that no event ever meets."""

    entity, source = user, actions
    never = TimeSince(where=col.kind == "")


def baselines(seen: Sequence[Action], begin: int) -> dict[str, float]:
    """Quality of the two running rates over the predicted ones of ``seen[begin:]``.

    Each action is scored before it is counted; a rate begins at one intent in fifty actions.
    """
    counts: dict[str, tuple[float, float]] = {}
    last_kind: dict[str, str] = {}
    labels: list[float] = []
    base: list[float] = []
    after: list[float] = []
    for place, action in enumerate(seen):
        last = last_kind.get(action.user_id, "none")
        last_kind[action.user_id] = action.kind
        if action.kind == "uncart":
            continue
        label = float(action.kind in INTENT)
        for rates, key in ((base, "any"), (after, last)):
            positives, total = counts.get(key, (1.0, 50.0))
            counts[key] = positives + label, total + 1.0
            if place >= begin:
                rates.append(positives / total)
        if place >= begin:
            labels.append(label)
    known = np.array(labels, dtype=np.float32)
    of_base, of_last = (np.array(one, dtype=np.float32) for one in (base, after))
    loss = LogLoss()
    return {
        "log_loss_base_rate": float(loss.value(known, of_base).mean()),
        "auc_last_kind": exact_auc(known, of_last),
        "log_loss_last_kind": float(loss.value(known, of_last).mean()),
    }
