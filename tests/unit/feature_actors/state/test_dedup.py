import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from freshrank.feature_actors.state import hash_table
from freshrank.feature_actors.state.dedup import Deduplicator, bytes_at_most

HORIZON_MS = 20
ENOUGH = 100_000

events = st.lists(st.tuples(st.integers(1, 12), st.integers(0, 100)), max_size=60)
bounds = st.sampled_from([1, 2, 5, 100])


def fresh(dedup: Deduplicator, batch: list[tuple[int, int]]) -> list[bool]:
    ids, times = (np.array([pair[side] for pair in batch], dtype=np.int64) for side in (0, 1))
    found: list[bool] = dedup.fresh(ids, times, times).tolist()
    return found


def naive(batch: list[tuple[int, int]], most: int) -> tuple[list[bool], int]:
    """What is fresh, and how many ids were forgotten while they lay within the horizon."""
    seen: list[tuple[int, int]] = []
    newest, forgotten, found = 0, 0, []
    for one, time in batch:
        newest = max(newest, time)
        live = [two for two, then in seen[-most:] if then >= newest - HORIZON_MS]
        found.append(one not in live)
        if one not in live:
            seen.append((one, time))
            gone = seen[:-most][-1:]
            forgotten += sum(then >= newest - HORIZON_MS for _, then in gone)
    return found, forgotten


@given(events, st.lists(st.integers(0, 60), max_size=3), bounds)
def test_an_id_is_fresh_once_within_the_horizon_and_the_bound_wherever_batches_end(
    log: list[tuple[int, int]], cuts: list[int], most: int
) -> None:
    dedup, found, begin = Deduplicator(HORIZON_MS, most), list[bool](), 0
    for end in [*sorted(cuts), len(log)]:
        found += fresh(dedup, log[begin:end])
        begin = max(begin, end)
    assert (found, dedup.forgotten) == naive(log, most)


@given(events, events, bounds)
def test_a_restored_deduplicator_remembers_the_same(
    log: list[tuple[int, int]], rest: list[tuple[int, int]], most: int
) -> None:
    dedup = Deduplicator(HORIZON_MS, most)
    fresh(dedup, log)
    restored = Deduplicator.restore(HORIZON_MS, most, dedup.freeze()())
    before = dedup.forgotten
    assert fresh(restored, rest) == fresh(dedup, rest) == naive(log + rest, most)[0][len(log) :]
    assert restored.forgotten == dedup.forgotten - before


def test_it_forgets_what_lies_beyond_the_horizon() -> None:
    dedup = Deduplicator(HORIZON_MS, ENOUGH)
    for start in range(0, 500_000, 5_000):
        times = np.arange(start, start + 5_000)
        assert dedup.fresh(times + 1, times, times).all()
    assert len(dedup) < 20_000
    assert len(dedup.freeze()()["ids"]) == HORIZON_MS + 1
    assert not any(fresh(dedup, [(500_000, 499_999), (499_990, 499_989)]))


def test_more_ids_than_the_bound_take_no_more_memory_and_are_counted() -> None:
    dedup, begun = Deduplicator(10**9, 5_000), hash_table.places(5_000 + 1_000)
    for start in range(0, 500_000, 1_000):
        times = np.arange(start, start + 1_000)
        assert dedup.fresh(times + 1, times, times).all()
    assert dedup.nbytes <= bytes_at_most(5_000, 1_000) == 16 * (begun + begun * 5 // 8)
    assert dedup.forgotten == 495_000
    assert fresh(dedup, [(495_001, 495_000), (495_000, 494_999)]) == [False, True]


def test_ids_that_were_forgotten_in_their_time_are_not_counted() -> None:
    dedup = Deduplicator(HORIZON_MS, 5)
    for time in range(0, 1_000, 10):
        assert fresh(dedup, [(time + 1, time)]) == [True]
    assert dedup.forgotten == 0


def test_ids_are_forgotten_by_the_clock_and_not_by_a_time_ahead_of_it() -> None:
    dedup = Deduplicator(HORIZON_MS, ENOUGH)
    ids, log_ms, clock_ms = np.array([1, 2, 1]), np.array([100, 9_000, 120]), np.array([100] * 3)
    assert dedup.fresh(ids, log_ms, clock_ms).tolist() == [True, True, False]
