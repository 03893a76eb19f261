import io

import pytest
from bench_figures import by_name
from rich.console import Console

from freshrank.benchmarks.throughput import snapshot


def test_a_snapshot_is_judged_by_how_late_the_loop_was_during_it() -> None:
    figures = by_name(
        snapshot.figures(
            snapshot.SnapshotTimings(
                quiet=[0.001, 0.005],
                pauses=[[0.001] * 99, [0.019] * 5, [0.002, 0.5]],
                seconds=[3.0, 2.0, 9.0],
                users=10,
                file_bytes=5_000,
                restore_seconds=1.5,
            )
        )
    )
    assert figures["pause_p99_ms"].value == pytest.approx(19.0)
    assert figures["pause_p99_ms"].met
    assert figures["longest_pause_ms"].value == 19.0
    assert figures["longest_pause_ms_without"].value == 5.0
    assert figures["seconds"].value == 3.0
    assert figures["bytes_per_user"].value == 500.0


def test_users_are_filled_in_and_get_events_in_every_partition() -> None:
    filled = snapshot.FilledPartitions(users=800)
    filled.fill(Console(file=io.StringIO()))
    users = [len(state.tables[0]) for state in filled.states.values()]
    assert len(users) == 8 and min(users) > 0
    assert sum(users) == 800
    for _ in range(8):
        filled.apply_batch(20)
    assert sum(state.counters.events for state in filled.states.values()) == 800 + 8 * 20
    for state in filled.states.values():
        assert state.joiner is not None
        assert state.joiner.pending + state.example_queue.examples == snapshot.SHOWN
