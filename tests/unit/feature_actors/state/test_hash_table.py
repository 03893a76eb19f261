import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from freshrank.feature_actors.state import hash_table

ids = st.integers(-(2**63), 2**63 - 1).filter(bool)


@given(st.dictionaries(ids, st.integers(0, 2**40), max_size=50), st.lists(ids, max_size=10))
def test_it_is_a_dict(contents: dict[int, int], others: list[int]) -> None:
    table = hash_table.blank(len(contents))
    entries = np.array(list(contents.items()), dtype=np.int64).reshape(-1, 2)
    hash_table.insert(table, entries)
    asked = [*contents, *others]
    found = np.empty(len(asked), dtype=np.int64)
    hash_table.look_up(table, np.array(asked, dtype=np.int64), found)
    assert found.tolist() == [contents.get(one, -1) for one in asked]
    assert {int(key): int(value) for key, value in hash_table.entries_of(table)} == contents


def test_ids_that_want_one_place_are_kept_apart() -> None:
    table = hash_table.blank(0)
    size = len(table)
    # Equal in all bits that the place is made of: only the multiples of 2**32 reach them.
    colliding = [1 + k * size * 2**40 for k in range(8)]
    hash_table.insert(table, np.array([[one, place] for place, one in enumerate(colliding)]))
    found = np.empty(8, dtype=np.int64)
    hash_table.look_up(table, np.array(colliding), found)
    assert found.tolist() == list(range(8))


def test_unknown_ids_get_what_is_offered_in_order() -> None:
    table = hash_table.blank(10)
    asked = np.array([7, 8, 7, 9, 8])
    out, firsts = np.empty(5, dtype=np.int64), np.empty(5, dtype=np.int64)
    added = hash_table.assign(table, asked, np.array([40, 41, 42, 43, 44]), out, firsts)
    assert added == 3
    assert out.tolist() == [40, 41, 40, 42, 41]
    assert firsts[:added].tolist() == [0, 1, 3]


def test_a_blank_table_has_room_for_what_it_was_made_for() -> None:
    for entries in (0, 1, 2_559, 2_560, 2_561, 100_000):
        assert hash_table.room(len(hash_table.blank(entries))) >= 2 * entries


@given(st.data())
def test_what_is_removed_is_gone_and_the_rest_is_found(data: st.DataObject) -> None:
    table = hash_table.blank(0)
    # Few homes, so that entries lie in each other's way and around the end of the table.
    near = st.integers(1, 30).map(lambda k: k * len(table) * 2**40 + 1)
    contents = data.draw(st.dictionaries(ids | near, st.integers(0, 9), max_size=40))
    hash_table.insert(table, np.array(list(contents.items()), dtype=np.int64).reshape(-1, 2))
    gone = data.draw(st.lists(st.sampled_from([*contents, 5]), max_size=30))
    hash_table.remove(table, np.array(gone, dtype=np.int64))
    left = {one: value for one, value in contents.items() if one not in gone}
    found = np.empty(len(contents), dtype=np.int64)
    hash_table.look_up(table, np.array([*contents], dtype=np.int64), found)
    assert found.tolist() == [left.get(one, -1) for one in contents]
    assert {int(key): int(value) for key, value in hash_table.entries_of(table)} == left
