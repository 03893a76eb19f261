from collections.abc import Sequence

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from naive import Behaviour, columns_of, everything_of, stream, user

from freshrank import Count, FeatureView, LastK, TimeSince
from freshrank.feature_actors.aggregations.kernel_types import NEWEST, OFFSET
from freshrank.feature_actors.state.entity_table import EntityTable
from freshrank.feature_actors.streams.columns import Columns
from freshrank.feature_actors.streams.stream import Entity, Stream
from freshrank.feature_actors.views.table_plan import TablePlan

HOUR_MS = 3_600_000


class Hourly(FeatureView):
    entity, source = user, stream
    seen = Count(windows=["1h"])


class Lasting(FeatureView):
    entity, source = user, stream
    recent = LastK("item_id", k=2)
    idle = TimeSince()


hourly, lasting = TablePlan([Hourly]), TablePlan([Lasting])


def events(names: Sequence[str], times: Sequence[int], first_offset: int = 0) -> Columns:
    found = [
        Behaviour(event_id="e", user_id=name, ts=time)
        for name, time in zip(names, times, strict=True)
    ]
    return columns_of(found, first_offset)


def counts(table: EntityTable, at: int) -> dict[str, float]:
    slots = table.slots()
    values = table.plan.read(table.rows(slots), np.full(len(slots), at)).values[:, 0]
    return dict(zip(table.entities(slots), values.tolist(), strict=True))


def test_an_entity_keeps_its_row_from_batch_to_batch() -> None:
    table = EntityTable(hourly, 10)
    first = table.apply(events(["a", "b", "a"], [1, 2, 3]), before=False)
    second = table.apply(events(["c", "b"], [4, 5]), before=False)
    assert table.entities(first.slots) == ["a", "b", "a"]
    assert table.entities(second.slots) == ["c", "b"]
    assert counts(table, 5) == {"a": 2.0, "b": 2.0, "c": 1.0}
    assert len(table) == 3
    assert first.before is None


def test_the_row_tells_its_newest_event_time_and_its_last_offset() -> None:
    table = EntityTable(lasting, 10)
    table.apply(events(["a", "a"], [9, 4], first_offset=70), before=False)
    row = table.row("a")
    assert row is not None
    words = row.view(np.int64)
    assert (words[NEWEST], words[OFFSET]) == (9, 71)
    assert table.row("b") is None


def test_rows_are_copies() -> None:
    table = EntityTable(hourly, 10)
    slots = table.apply(events(["a"], [1]), before=False).slots
    kept = table.row("a"), table.rows(slots)
    table.apply(events(["a"], [2]), before=False)
    assert kept[0] is not None
    assert kept[0].view(np.int64)[NEWEST] == kept[1].view(np.int64)[0, NEWEST] == 1


def test_it_grows_with_its_entities() -> None:
    table = EntityTable(hourly, 10**6)
    for start in range(0, 9_000, 3_000):
        names = [f"u{number}" for number in range(start, start + 3_000)]
        table.apply(events(["u0", *names], range(3_001)), before=False)
    assert len(table) == 9_000
    found = counts(table, 3_001)
    assert found.pop("u0") == 4.0
    assert set(found.values()) == {1.0}


def test_it_has_no_room_beyond_its_bound_and_what_comes_between_two_cuts() -> None:
    table = EntityTable(hourly, 2_000)
    for start in range(0, 2_000, 100):
        table.apply(
            events([f"u{number}" for number in range(start, start + 100)], [1] * 100), False
        )
    assert table.capacity == 2_100


def test_names_of_any_text_are_kept_apart_and_restored() -> None:
    names = ["a\0b", "a", "\0", "", "ünï", "日本", "a" * 1_000]
    table = EntityTable(hourly, 10)
    table.apply(events(names, [1] * 7), before=False)
    restored = EntityTable.restore(hourly, 10, everything_of(table))
    assert counts(restored, 1) == dict.fromkeys(names, 1.0)
    for name in names:
        mine, other = table.row(name), restored.row(name)
        assert mine is not None
        assert other is not None
        assert mine.tobytes() == other.tobytes()


def test_an_empty_table_survives_a_snapshot() -> None:
    restored = EntityTable.restore(hourly, 10, everything_of(EntityTable(hourly, 10)))
    assert len(restored) == 0
    restored.apply(events(["a"], [1]), before=False)
    assert counts(restored, 1) == {"a": 1.0}


def test_an_empty_batch_changes_nothing() -> None:
    table = EntityTable(hourly, 10)
    applied = table.apply(events([], []), before=True)
    assert (len(applied.slots), len(applied.late), len(table)) == (0, 0, 0)


def test_idle_entities_are_evicted_once_nothing_of_them_can_matter() -> None:
    table = EntityTable(hourly, 10)
    table.apply(events(["old", "new"], [0, 2 * HOUR_MS]), before=False)
    assert hourly.horizon_ms is not None
    assert table.evict(hourly.horizon_ms) == []
    assert table.evict(2 * hourly.horizon_ms) == ["old"]
    assert table.row("old") is None
    assert counts(table, 2 * HOUR_MS) == {"new": 1.0}


def test_what_is_kept_for_ever_is_not_evicted_while_there_is_room() -> None:
    table = EntityTable(lasting, 10)
    table.apply(events(["a"], [0]), before=False)
    assert table.evict(10**15) == []


def test_a_full_table_drops_the_entities_that_had_no_event_for_longest() -> None:
    table = EntityTable(lasting, 40)
    names = [f"u{number}" for number in range(50)]
    table.apply(events(names, [1_000 - number for number in range(50)]), before=False)
    assert sorted(table.evict(1_000)) == sorted(names[-12:])  # down to 95 % of 40
    assert len(table) == 38
    assert table.evict(1_000) == []


def test_the_row_of_an_evicted_entity_is_used_again_and_empty() -> None:
    table = EntityTable(lasting, 2)
    table.apply(events(["a", "b", "c"], [1, 2, 3]), before=False)
    assert sorted(table.evict(3)) == ["a", "b"]
    block = table.apply(events(["d", "a", "e"], [4, 5, 6]), before=True).before
    assert block is not None
    assert not block.ids.any()
    assert table.slots().tolist() == [0, 1, 2, 3]
    assert sorted(table.entities(table.slots())) == ["a", "c", "d", "e"]


names = st.sampled_from([f"u{number}" for number in range(8)])


@given(
    st.lists(
        st.one_of(
            st.lists(st.tuples(names, st.integers(0, 20)), max_size=8),
            st.integers(0, 20),
            st.just("restore"),
        ),
        max_size=12,
    )
)
@settings(max_examples=150)
def test_whatever_comes_and_goes_rows_belong_to_their_entities(
    steps: list[list[tuple[str, int]] | int | str],
) -> None:
    table, expected = EntityTable(lasting, 4), dict[str, list[int]]()
    for step in steps:
        if isinstance(step, list):
            table.apply(events([name for name, _ in step], [time for _, time in step]), False)
            for name, time in step:
                expected.setdefault(name, []).append(time)
        elif isinstance(step, int):
            for name in table.evict(step):
                del expected[name]
            assert len(table) <= 4
        else:
            table = EntityTable.restore(lasting, 4, everything_of(table))
        assert sorted(table.entities(table.slots())) == sorted(expected)
        for name, times in expected.items():
            row = table.row(name)
            assert row is not None
            assert row.view(np.int64)[NEWEST] == max(times)


class Visit(msgspec.Struct):
    visit: int
    shop: int
    ts: int


@pytest.mark.parametrize("shop", [0, -5, 2**63 - 1])
def test_an_entity_may_be_an_integer(shop: int) -> None:
    visits = Stream("v", id="visit", time="ts", key=Entity("shop", key="shop"), schema=Visit)
    plan = TablePlan(
        [
            type(
                "V",
                (FeatureView,),
                {"entity": visits.key, "source": visits, "seen": Count(windows=["1h"])},
            )
        ]
    )
    table = EntityTable(plan, 10)
    columns = Columns.of_events(visits.fields, [Visit(1, shop, 5)], np.array([0]), np.array([5]))
    table.apply(columns, before=False)
    restored = EntityTable.restore(plan, 10, everything_of(table))
    assert restored.row(str(shop)) is not None
    assert counts(restored, 5) == {str(shop): 1.0}
