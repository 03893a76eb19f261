"""A shop with a catalogue and sources of candidates, and the rows that its events make of items."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import msgspec
import numpy as np

from freshrank import (
    Count,
    CoVisited,
    Entity,
    FeatureView,
    Joined,
    LastK,
    Listed,
    LogisticRegression,
    Newest,
    Pipeline,
    Popular,
    Stream,
    Table,
    col,
)
from freshrank.feature_actors.connectors.in_memory.log import consecutive_records
from freshrank.feature_actors.retrieval.plan import RetrievalPlan
from freshrank.feature_actors.state.entity_table import EntityTable
from freshrank.feature_actors.streams.columns import Columns
from freshrank.feature_actors.streams.table_codec import TableCodec, TableRecords

START_MS = 1_700_000_000_000


class Click(msgspec.Struct):
    id: str
    user: str
    item: str
    kind: str
    ts: int


class Product(msgspec.Struct):
    item: str
    brand: str | None = None
    shelf: int | None = None
    price: float | None = None


user, item = Entity("user", key="user"), Entity("item", key="item")
clicks = Stream("clicks", id="id", time="ts", key=user, schema=Click)
catalogue = Table("catalogue", key=item, schema=Product)


class Recent(FeatureView):
    entity, source = user, clicks
    recent = LastK("item", k=4, repeats=False)
    ordered = LastK("item", where=col.kind == "order", k=4, repeats=False)


class Audience(FeatureView):
    entity, source = item, clicks
    viewed = Count(where=col.kind == "view", windows=["1h"])
    users = LastK("user", k=8, repeats=False, learned=False)


PIPELINE = Pipeline(
    "shop",
    stream=clicks,
    features=[Recent, Audience],
    tables=[catalogue],
    context=["item", catalogue.brand, catalogue.price],
    label=Joined(positive=col.kind == "order", on="item", within="1m"),
    model=LogisticRegression(),
    candidates=[
        CoVisited("users"),
        Popular("viewed_1h"),
        Popular("viewed_1h", per="brand"),
        Newest(),
        Listed("front page", ["i3", "i1"]),
    ],
)


def plan() -> RetrievalPlan:
    """The pipeline's plan."""
    found = PIPELINE.retrieval
    assert found is not None
    return found


def table_records(
    rows: Sequence[tuple[str, Mapping[str, object] | None]], at_ms: int = START_MS
) -> TableRecords:
    """Records of the catalogue: the key of each, and the fields beside it (None: a tombstone)."""
    values = [
        None if row is None else msgspec.json.encode({"item": name, **row}) for name, row in rows
    ]
    batch = consecutive_records("catalogue", 0, values, at_ms)
    batch = replace(batch, keys=[name.encode() for name, _ in rows])
    return TableCodec(catalogue).decode(batch)


def item_rows(events: Sequence[tuple[str, str, str]], names: Sequence[str]) -> list[bytes | None]:
    """The rows of `names` after events of (user, item, kind), one a second; None: no event."""
    (layout,) = plan().items.plan.tables
    return _rows(layout.name, events, names)


def user_rows(events: Sequence[tuple[str, str, str]], name: str) -> list[bytes | None]:
    """The rows of a user after the same."""
    (layout,) = plan().entity.tables
    return _rows(layout.name, events, [name])


def _rows(
    table: str, events: Sequence[tuple[str, str, str]], names: Sequence[str]
) -> list[bytes | None]:
    layouts = {one.name: one for one in (*plan().items.plan.tables, *plan().entity.tables)}
    rows = EntityTable(layouts[table], 1_000)
    made: list[msgspec.Struct] = [
        Click(str(number), who, what, kind, START_MS + 1_000 * number)
        for number, (who, what, kind) in enumerate(events)
    ]
    times = np.array([START_MS + 1_000 * number for number in range(len(made))], dtype=np.int64)
    if made:
        rows.apply(
            Columns.of_events(clicks.fields, made, np.arange(len(made)), times), before=False
        )
    found = [rows.row(name) for name in names]
    return [None if row is None else row.tobytes() for row in found]
