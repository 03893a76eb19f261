from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from freshrank.actors.messages import Floats, IdField, InputLayout, Ints
from freshrank.learner.embeddings.pooling import (
    distinct,
    field_starts,
    no_places,
    pool,
    scatter,
)
from freshrank.learner.embeddings.row_init import RowInit
from freshrank.learner.embeddings.table import KeyedTable

LAYOUT = InputLayout((), (IdField("a"), IdField("bag", 3), IdField("b", 2)))
STARTS = field_starts(LAYOUT)
IDS = arrays(np.int64, st.tuples(st.integers(0, 6), st.just(6)), elements=st.integers(-3, 3))


def naive_pool(rows: dict[int, Floats], ids: Ints) -> Floats:
    out = np.zeros((len(ids), len(STARTS) - 1, 2))
    for i, row in enumerate(ids):
        for field in range(len(STARTS) - 1):
            present = [rows[key] for key in row[STARTS[field] : STARTS[field + 1]] if key]
            if present:
                out[i, field] = np.mean(present, axis=0)
    return out.astype(np.float32)


@given(IDS)
def test_each_present_id_is_named_once_in_order_and_found_again(ids: Ints) -> None:
    keys, where = distinct(ids)
    assert keys.tolist() == sorted(set(ids.ravel().tolist()) - {0})
    assert (where[ids == 0] == -1).all()
    assert (keys[where[ids != 0]] == ids[ids != 0]).all()


@given(IDS)
def test_a_field_is_the_mean_of_the_rows_of_its_present_ids(ids: Ints) -> None:
    keys, where = distinct(ids)
    rows = np.random.default_rng(0).normal(size=(len(keys), 2)).astype(np.float32)
    table = {int(key): row for key, row in zip(keys, rows, strict=True)}
    np.testing.assert_allclose(
        pool(rows, where, STARTS), naive_pool(table, ids), rtol=1e-5, atol=1e-6
    )


@given(IDS, st.sampled_from([0.0, 0.1]))
def test_a_table_pools_to_the_bit_what_pool_makes_of_its_rows(ids: Ints, scale: float) -> None:
    table = KeyedTable(RowInit(width=2, scale=scale, seed=0), state_width=1)
    known = np.array([-2, 1, 3])  # the others have their initial rows
    table.put(known, np.random.default_rng(0).normal(size=(3, 3)).astype(np.float32))
    keys, where = distinct(ids)
    wanted = pool(table.read(keys), where, STARTS)
    assert table.pool(ids, STARTS).tobytes() == wanted.tobytes()


def scattered(upstream: Floats, where: Ints, ids: int) -> tuple[Floats, Floats, Floats]:
    """Sums and squares float32[u, w] and counts float32[u] of all distinct ids."""
    places = no_places(ids)
    touched, *found = scatter(upstream, where, STARTS, places)
    assert (places == no_places(ids)).all(), "the memory is left as it was"
    assert sorted(touched.tolist()) == sorted(set(where[where >= 0].tolist()))
    whole = (np.zeros((ids, *part.shape[1:]), np.float32) for part in found)
    sums, squares, counts = whole
    sums[touched], squares[touched], counts[touched] = found
    return sums, squares, counts


@given(IDS)
def test_scatter_is_the_transpose_of_pool(ids: Ints) -> None:
    keys, where = distinct(ids)
    random = np.random.default_rng(1)
    rows = random.normal(size=(len(keys), 2)).astype(np.float32)
    upstream = random.normal(size=(len(ids), len(STARTS) - 1, 2)).astype(np.float32)
    forward = float((pool(rows, where, STARTS) * upstream).sum())
    backward = float((rows * scattered(upstream, where, len(keys))[0]).sum())
    assert abs(forward - backward) < 1e-4


@given(IDS)
def test_squares_are_those_of_what_each_row_scatters(ids: Ints) -> None:
    ids = ids * 10 + np.array([1, 2, 2, 2, 3, 3]) * (ids != 0)  # no two fields share an id
    keys, where = distinct(ids)
    upstream = np.random.default_rng(1).normal(size=(len(ids), 3, 2)).astype(np.float32)
    expected = np.zeros((len(keys), 2))
    for row in range(len(ids)):
        one = slice(row, row + 1)
        expected += np.square(scattered(upstream[one], where[one], len(keys))[0])
    _, found, counts = scattered(upstream, where, len(keys))
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)
    holding = [len({key for key in row if key >= 0}) for row in where.tolist()]
    np.testing.assert_allclose(counts.sum(), sum(holding), rtol=1e-5)  # once an example


def test_thousands_of_ids_in_one_batch_stay_distinct() -> None:
    ids = np.random.default_rng(2).integers(1, 5_000, (700, 6))
    keys, where = distinct(ids)
    assert (keys == np.unique(ids)).all()
    assert (keys[where] == ids).all()
