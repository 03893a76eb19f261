from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from learning import contents

from freshrank.actors.messages import Ints
from freshrank.learner.embeddings.hash_index import bucket_of
from freshrank.learner.embeddings.row_init import RowInit
from freshrank.learner.embeddings.table import KeyedTable

ZERO = RowInit(width=2, scale=0.0, seed=0)
RANDOM = RowInit(width=4, scale=0.5, seed=3)

# Few ids, so that they meet again, and such as share a home slot in the smallest index.
NEIGHBOURS = [key for key in range(1, 4000) if bucket_of(np.int64(key), 31) in (30, 31, 0)][:40]
KEYS = st.lists(st.sampled_from([*NEIGHBOURS, -(2**63), 2**63 - 1]), unique=True, max_size=30)


@given(st.lists(st.tuples(st.booleans(), KEYS), max_size=12))
def test_it_holds_what_a_dictionary_holds(commands: list[tuple[bool, list[int]]]) -> None:
    table, truth = KeyedTable(ZERO), dict[int, list[float]]()
    for number, (put, ids) in enumerate(commands):
        keys = np.array(ids, np.int64)
        if put:
            rows = np.stack([np.full(len(ids), number), np.arange(len(ids))], axis=1)
            table.put(keys, rows.astype(np.float32))
            truth.update({key: [float(number), float(at)] for at, key in enumerate(ids)})
        else:
            table.remove(keys)
            for key in ids:
                truth.pop(key, None)
        assert contents(table.keys, table.rows) == truth
        asked = np.array(NEIGHBOURS, np.int64)
        assert (table.find(asked) >= 0).tolist() == [key in truth for key in NEIGHBOURS]
        assert table.read(asked).tolist() == [truth.get(key, [0.0, 0.0]) for key in NEIGHBOURS]


def stamp(table: KeyedTable, keys: Ints, with_what: int) -> None:
    positions = table.get_or_insert(keys)
    table.stamps[positions] = with_what


def test_it_grows_without_losing_rows_or_positions() -> None:
    table = KeyedTable(ZERO)
    keys = np.random.default_rng(0).integers(-(2**62), 2**62, 50_000)
    for part in np.array_split(keys, 70):
        positions = table.get_or_insert(part)
        assert (table.keys[positions] == part).all()
    assert len(table) == 50_000
    assert (table.keys[table.find(keys)] == keys).all()


def test_an_unknown_id_reads_as_the_row_it_would_get() -> None:
    table = KeyedTable(RANDOM, state_width=3)
    keys = np.arange(1, 100)
    expected = table.read(keys)
    table.get_or_insert(keys)
    assert (table.read(keys) == expected).all()
    assert (table.rows[:, RANDOM.width :] == 0.0).all()


def test_initial_rows_are_the_same_in_every_process_and_for_ever() -> None:
    row = KeyedTable(RANDOM).read(np.array([42]))[0]
    assert row.tolist() == [0.0, 0.1825750470161438, -0.40763604640960693, 0.45171260833740234]


def test_initial_rows_are_spread_evenly_and_differ_by_id_and_seed() -> None:
    keys = np.arange(1, 20_001)
    rows = KeyedTable(RANDOM).read(keys)
    assert (rows[:, 0] == 0.0).all()
    drawn = rows[:, 1:]
    assert drawn.min() >= -0.5 and drawn.max() < 0.5
    assert abs(drawn.mean()) < 0.005
    assert drawn.std() == pytest.approx(0.5 / np.sqrt(3.0), rel=0.01)
    correlations = np.asarray(np.corrcoef(drawn.T))
    assert np.abs(correlations - np.eye(3)).max() < 0.03
    assert not (KeyedTable(RANDOM._replace(seed=4)).read(keys)[:, 1:] == drawn).any(axis=1).all()


def test_the_oldest_are_the_least_stamps_and_among_equals_the_least_ids() -> None:
    table = KeyedTable(ZERO)
    stamp(table, np.array([9, 5, 7]), 1)
    stamp(table, np.array([2, 1, 3]), 2)
    stamp(table, np.array([5]), 3)
    assert table.oldest(1).tolist() == [7]
    assert table.oldest(3).tolist() == [1, 7, 9]
    assert table.oldest(6).tolist() == [1, 2, 3, 5, 7, 9]


def test_a_removed_row_keeps_the_stamps_of_the_others_right() -> None:
    table = KeyedTable(ZERO)
    for key in range(1, 9):
        stamp(table, np.array([key]), key)
    table.remove(np.array([2, 8, 77]))
    assert dict(zip(table.keys.tolist(), table.stamps.tolist(), strict=True)) == {
        key: key for key in (1, 3, 4, 5, 6, 7)
    }


def test_the_checksum_sees_every_value_and_no_order() -> None:
    keys, rows = np.array([5, -6, 7]), np.array([[1, 2], [3, 4], [5, 6]], np.float32)
    table, turned = KeyedTable(ZERO), KeyedTable(ZERO)
    table.put(keys, rows)
    turned.put(keys[::-1].copy(), rows[::-1].copy())
    assert table.checksum() == turned.checksum()
    turned.put(np.array([7]), np.array([[5, np.nextafter(np.float32(6), np.float32(7))]]))
    assert table.checksum() != turned.checksum()
    turned.put(keys, rows)
    turned.put(np.array([8]), np.zeros((1, 2), np.float32))
    assert table.checksum() != turned.checksum()


def test_the_checksum_leaves_optimiser_state_out() -> None:
    with_state, without = KeyedTable(ZERO, state_width=1), KeyedTable(ZERO)
    with_state.put(np.array([5]), np.array([[1, 2, 9]], np.float32))
    without.put(np.array([5]), np.array([[1, 2]], np.float32))
    assert with_state.checksum() == without.checksum()


def test_a_copy_goes_its_own_way() -> None:
    table = KeyedTable(ZERO)
    table.put(np.array([5]), np.array([[1, 2]], np.float32))
    copy = table.copy()
    table.put(np.array([5, 6]), np.zeros((2, 2), np.float32))
    assert contents(copy.keys, copy.rows) == {5: [1.0, 2.0]}


OPERATIONS = st.lists(
    st.tuples(
        st.sampled_from(["put", "remove", "exchange"]),
        st.sets(st.integers(-20, 20).filter(bool), min_size=1),
    ),
    max_size=20,
)


@given(OPERATIONS)
def test_the_expected_checksum_is_that_of_the_rows_whatever_is_done(
    operations: list[tuple[str, set[int]]],
) -> None:
    table = KeyedTable(RANDOM, state_width=2)
    for number, (operation, some) in enumerate(operations):
        keys = np.array(sorted(some))
        rows = np.random.default_rng(number).random((len(keys), 6), np.float32)
        if operation == "put":
            table.put(keys, rows)
        elif operation == "remove":
            table.remove(keys)
        else:
            gone, other = keys[::3] if number % 2 else keys[:0], table.copy()
            table.exchange(table.prepare(gone, keys, rows))
            other.remove(gone)
            other.put(keys, rows)
            assert contents(table.keys, table.rows) == contents(other.keys, other.rows)
        positions = table.get_or_insert(keys[::2])
        with table.changing(positions):
            table.rows[positions] += 1.0
        assert table.expected_checksum == table.checksum()
        assert table.copy().expected_checksum == table.checksum()


def test_a_row_that_is_changed_behind_the_tables_back_is_found_out() -> None:
    table = KeyedTable(ZERO)
    table.put(np.array([5, 6]), np.array([[1, 2], [3, 4]], np.float32))
    table.rows[1, 0] = 3.5
    assert table.checksum() != table.expected_checksum
    assert not table.recount()
    assert table.recount(), "from there on that is what is expected"
