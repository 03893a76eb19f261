import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from freshrank.feature_actors.dedup import Deduplicator

HORIZON_MS = 20

events = st.lists(st.tuples(st.integers(1, 12), st.integers(0, 100)), max_size=60)


def fresh(dedup: Deduplicator, batch: list[tuple[int, int]]) -> list[bool]:
    ids, times = (np.array([pair[side] for pair in batch], dtype=np.int64) for side in (0, 1))
    found: list[bool] = dedup.fresh(ids, times).tolist()
    return found


def naive(batch: list[tuple[int, int]]) -> list[bool]:
    remembered: dict[int, int] = {}
    newest, found = 0, []
    for one, time in batch:
        newest = max(newest, time)
        known = one in remembered and remembered[one] >= newest - HORIZON_MS
        found.append(not known)
        if not known:
            remembered[one] = time
    return found


@given(events, st.lists(st.integers(0, 60), max_size=3))
def test_an_id_is_fresh_once_within_the_horizon_wherever_batches_end(
    log: list[tuple[int, int]], cuts: list[int]
) -> None:
    dedup, found, begin = Deduplicator(HORIZON_MS), list[bool](), 0
    for end in [*sorted(cuts), len(log)]:
        found += fresh(dedup, log[begin:end])
        begin = max(begin, end)
    assert found == naive(log)


@given(events, events)
def test_a_restored_deduplicator_remembers_the_same(
    log: list[tuple[int, int]], rest: list[tuple[int, int]]
) -> None:
    dedup = Deduplicator(HORIZON_MS)
    fresh(dedup, log)
    restored = Deduplicator.restore(HORIZON_MS, dedup.freeze()())
    assert fresh(restored, rest) == fresh(dedup, rest) == naive(log + rest)[len(log) :]


def test_it_forgets_what_lies_beyond_the_horizon() -> None:
    dedup = Deduplicator(HORIZON_MS)
    for start in range(0, 500_000, 5_000):
        times = np.arange(start, start + 5_000)
        assert dedup.fresh(times + 1, times).all()
    assert len(dedup) < 20_000
    assert len(dedup.freeze()()["ids"]) == HORIZON_MS + 1
    assert not any(fresh(dedup, [(500_000, 499_999), (499_990, 499_989)]))
