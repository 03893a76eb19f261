from collections.abc import Mapping

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from small_catalogue import START_MS, catalogue, table_records

from freshrank.actors.kernels.hashing import hash_texts
from freshrank.feature_actors.retrieval.catalogue import ItemCatalogue

NAMES = ["i0", "i1", "i2", "i3", "i4"]
changes = st.lists(
    st.tuples(
        st.sampled_from(NAMES),
        st.none()
        | st.fixed_dictionaries(
            {
                "brand": st.none() | st.sampled_from(["a", "b"]),
                "shelf": st.none() | st.integers(0, 3),
                "price": st.none() | st.floats(0, 9),
            }
        ),
    ),
    max_size=8,
)


@given(st.lists(changes, max_size=6))
def test_it_holds_the_last_row_of_each_key(
    batches: list[list[tuple[str, dict[str, object] | None]]],
) -> None:
    items = ItemCatalogue(catalogue, most=100)
    expected: dict[str, Mapping[str, object]] = {}
    for batch in batches:
        before = {name: items.slot(name) for name in NAMES}
        fresh = items.take(table_records(batch)).tolist()
        for name, row in batch:
            if row is None:
                expected.pop(name, None)
            else:
                expected[name] = row
        came = [name for name in NAMES if name in expected and items.slot(name) != before[name]]
        assert sorted(fresh) == sorted(items.slots_of(came).tolist())
    assert len(items) == len(expected) == np.count_nonzero(items.alive)
    for name in NAMES:
        assert (items.slot(name) is not None) == (name in expected)
    slots = items.slots_of(list(expected))
    assert slots.tolist() == items.slots_of_ids(hash_texts(list(expected))).tolist()
    columns = items.columns(slots)
    assert columns.values("item") == list(expected) == [items.names[slot] for slot in slots]
    for field in ("brand", "shelf", "price"):
        wanted = [row[field] for row in expected.values()]
        assert columns.values(field) == wanted
        absent = [value is None for value in wanted]
        if field != "brand":
            assert np.isnan(items.numbers(field)[slots]).tolist() == absent
        if field != "price":
            assert (items.ids(field)[slots] == 0).tolist() == absent


def test_arrays_grow_and_slots_are_used_again() -> None:
    items = ItemCatalogue(catalogue, most=10_000)
    names = [f"n{number}" for number in range(3_000)]
    rows = [(name, {"shelf": number}) for number, name in enumerate(names)]
    items.take(table_records(rows))
    assert items.numbers("shelf")[items.slots_of(names)].tolist() == list(range(3_000))
    assert items.stamps_ms[items.slots_of(names)].tolist() == [START_MS] * 3_000
    gone = items.slots_of(names[:10]).tolist()
    items.take(table_records([(name, None) for name in names[:10]]))
    assert sorted(items.take(table_records([(f"m{n}", {}) for n in range(10)])).tolist()) == sorted(
        gone
    )
    assert items.capacity == 4_096


def test_more_items_than_there_is_room_for_are_counted() -> None:
    items = ItemCatalogue(catalogue, most=2)
    items.take(table_records([("a", {}), ("b", {}), ("c", {}), ("d", {"shelf": 1})]))
    assert items.refused == {"c", "d"}
    assert items.slot("d") is None
    # One that has a place may change; one that leaves makes room for the next that is written.
    items.take(table_records([("a", None), ("b", {"shelf": 7}), ("d", {"shelf": 2})]))
    assert items.refused == {"c"}
    assert items.numbers("shelf")[items.slots_of(["b", "d"])].tolist() == [7.0, 2.0]
    items.take(table_records([("c", None)]))
    assert items.refused == set()
