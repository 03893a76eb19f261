import re
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from naive import Behaviour, columns_of, stream, user

from freshrank import (
    Count,
    DecayedCount,
    DistinctCount,
    Entity,
    FeatureView,
    LastK,
    Mean,
    Sum,
    TimeSince,
    Tumbling,
    col,
)
from freshrank.actors.errors import ConfigError
from freshrank.feature_actors.state.entity_table import EntityTable
from freshrank.feature_actors.views.plan import FeaturePlan
from freshrank.feature_actors.views.table_plan import TablePlan


class Activity(FeatureView):
    entity, source = user, stream
    views = Count(where=col.type == "view", windows=["5m", "1d"])
    spend = Sum("price", where=col.type == "order", windows=["1h"])
    recent = LastK("item_id", k=3)
    idle = TimeSince()


class Taste(FeatureView):
    entity, source = user, stream
    interest = DecayedCount(by="category", half_life="6h", top=2)
    basket = Mean("quantity", windows=["1d"], hop="1h")


def view(name: str = "V", **body: Any) -> type[FeatureView]:
    return type(name, (FeatureView,), {"entity": user, "source": stream} | body)


other = replace(stream, topic="other")
shop = Entity("shop", key="user_id")


def test_each_stream_fills_a_table_of_its_own() -> None:
    elsewhere = view("Elsewhere", source=other, seen=Count(windows=["1h"]))
    plan = FeaturePlan([Activity, elsewhere, Taste])
    first, second = plan.tables
    assert first.fingerprint == FeaturePlan([Activity, Taste]).fingerprint
    assert second.fingerprint == FeaturePlan([elsewhere]).fingerprint
    assert plan.fingerprint == first.fingerprint + second.fingerprint
    assert (first.source, second.source) == (stream, other)
    assert plan.bytes_per_entity == first.bytes_per_entity + second.bytes_per_entity


def test_views_become_one_row_and_columns_with_the_names_of_their_windows() -> None:
    plan = FeaturePlan([Activity, Taste])
    (table,) = plan.tables
    assert table.columns == ("views_5m", "views_1d", "spend_1h", "idle", "basket_1d")
    assert [(field.name, field.width) for field in table.id_fields] == [
        ("recent", 3),
        ("interest", 2),
    ]
    # Header 2, two rings of 13 half words, 13 words, 3 + 3, 1, 1 + 2 + 2, 25 and 13 (25 halves).
    assert table.row_words == 2 + 2 * 7 + 13 + 6 + 1 + 5 + 25 + 13
    assert plan.bytes_per_entity == 8 * table.row_words


def test_conditions_and_inputs_that_are_alike_are_computed_once() -> None:
    twice = view(
        a=Count(where=col.type == "view", windows=["1h"]),
        b=Count(where=col.type == "view", windows=["1h"]),
        c=Sum("price", where=col.type == "view", windows=["1h"]),
        d=Mean("price", windows=["1h"]),
    )
    inputs = TablePlan([twice]).layout.inputs[""]
    assert (len(inputs.conditions), list(inputs.numbers)) == (1, ["price"])


def test_the_description_adds_up_and_states_each_hop() -> None:
    plan = FeaturePlan([Activity, Taste])
    text = plan.describe()
    sizes = [int(size) for size in re.findall(r" (\d+) B", text)]
    assert sum(sizes) + 2 * 8 == plan.bytes_per_entity
    assert f"{plan.bytes_per_entity} bytes an entity" in text
    for line in ("views_5m .* 25s$", "views_1d .* 2h$", "basket_1d .* 1h$", "idle .* exact$"):
        assert re.search(line, text, re.MULTILINE)


def test_the_description_states_how_wrong_a_feature_may_be() -> None:
    text = FeaturePlan([view(a=DistinctCount("item_id", windows=["1d"], most=5)), Taste]).describe()
    assert re.search("a_1d .* exact up to 5 distinct values, more count as 5$", text, re.MULTILINE)
    assert re.search("interest .* at most 1/2 of all events too high$", text, re.MULTILINE)
    count = Count(windows=["lifetime", Tumbling("1d"), Tumbling("1d", previous=True)])
    text = FeaturePlan([view(a=count)]).describe()
    for column in ("a_lifetime", "a_current_1d", "a_previous_1d"):
        assert re.search(f"{column} +8 B  exact$", text, re.MULTILINE)


def test_the_fingerprint_tells_definitions_apart_by_their_meaning() -> None:
    def fingerprint(**body: Any) -> str:
        return FeaturePlan([view(**body)]).fingerprint

    base = fingerprint(a=Count(windows=["1h"]))
    assert base == FeaturePlan([view("Other", a=Count(windows=["1h"], hop="5m"))]).fingerprint
    assert re.fullmatch("[0-9a-f]{16}", base)
    others = [
        fingerprint(b=Count(windows=["1h"])),
        fingerprint(a=Count(windows=["2h"])),
        fingerprint(a=Count(where=col.type == "view", windows=["1h"])),
        fingerprint(a=Count(windows=["1h"]), b=TimeSince()),
        FeaturePlan(
            [view(a=Count(windows=["1h"]), source=replace(stream, topic="other"))]
        ).fingerprint,
    ]
    assert len({base, *others}) == 6


def test_the_fingerprint_is_that_of_the_rows_that_earlier_versions_stored() -> None:
    assert FeaturePlan([Activity, Taste]).former_fingerprint == "7d967912a516b2ca"


@pytest.mark.parametrize(
    ("views", "problem"),
    [
        ([], "there is no feature"),
        ([view()], "there is no feature"),
        ([Activity, Activity], "two views of this name"),
        ([Activity, view(idle=TimeSince())], "idle: there are two feature columns"),
        ([view(a_1h=TimeSince(), a=Count(windows=["1h"]))], "a_1h: there are two"),
        ([Activity, view(source=other)], "V: no view of 'other' has a feature"),
        ([Activity, view(source=other, idle=TimeSince())], "idle: there are two feature columns"),
        (
            [Activity, view(source=replace(stream, key=shop), entity=shop, a=TimeSince())],
            "V.entity: .* are about the same entity",
        ),
    ],
)
def test_views_that_do_not_go_together_are_refused(
    views: list[type[FeatureView]], problem: str
) -> None:
    with pytest.raises(ConfigError, match=problem):
        FeaturePlan(views)


def test_an_entity_without_events_reads_as_nothing() -> None:
    (table,) = FeaturePlan([Activity, Taste]).tables
    block = table.read(table.empty_row.reshape(1, -1), np.array([1_700_000_000_000]))
    np.testing.assert_array_equal(block.values, [[0.0, 0.0, 0.0, np.nan, np.nan]])
    assert not block.ids.any()
    assert not block.id_weights.any()


def test_features_of_a_plan_do_not_touch_each_other() -> None:
    events = [
        Behaviour(
            event_id="e",
            user_id="u",
            ts=1_700_000_000_000 + 700_000 * step,
            type=("view", "order")[step % 2],
            item_id=step % 5,
            category="abc"[step % 3],
            price=step / 4,
            quantity=step,
        )
        for step in range(200)
    ]
    at = np.array([events[-1].ts + 60_000])

    def read(plan: TablePlan) -> dict[str, list[float]]:
        table = EntityTable(plan, 10)
        table.apply(columns_of(events), before=False)
        block = plan.read(table.rows(table.slots()), at)
        found = dict(zip(plan.columns, block.values[0].tolist(), strict=True))
        return {name: [value] for name, value in found.items()} | {
            "ids": [*block.ids[0].tolist(), *block.id_weights[0].tolist()]
        }

    together = read(TablePlan([Activity, Taste]))
    for part in (Activity, Taste):
        for name, feature in part.features.items():
            body: dict[str, Any] = {name: feature}
            alone = read(TablePlan([view(**body)]))
            ids = alone.pop("ids")
            assert all(together[column] == value for column, value in alone.items())
            assert set(ids) <= set(together["ids"])


def test_how_long_events_matter_is_known_where_it_is_bounded() -> None:
    assert TablePlan([Activity]).horizon_ms is None
    bounded = view(a=Count(windows=["1h"]), b=DecayedCount(by="item_id", half_life="1m"))
    assert TablePlan([bounded]).horizon_ms == 13 * 300_000
