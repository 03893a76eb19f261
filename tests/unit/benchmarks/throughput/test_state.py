"""The cost of an event from few to very many users."""

from __future__ import annotations

import io

from bench_figures import by_name
from rich.console import Console

from freshrank.benchmarks.registry import BenchOptions
from freshrank.benchmarks.throughput import state
from freshrank.benchmarks.throughput.state import StateCosts


def test_ratios_are_those_of_the_middle_round() -> None:
    found = {
        1_000: StateCosts(784, 1e6, 9.0, [1.0, 2.0, 1.0]),
        100_000: StateCosts(784, 900.0, 3.0, [1.0, 2.0, 1.2]),
        1_000_000: StateCosts(784, 900.0, 3.0, [1.2, 2.4, 1.3]),
        5_000_000: StateCosts(784, 950.0, 4.0, [4.0, 2.5, 1.6]),
    }
    figures = by_name(state.figures(found))
    assert figures["ratio_of_100000_to_1000_users"].value == 1.0
    assert figures["ratio_of_5000000_to_1000_users"].value == 1.6
    assert figures["ratio_of_5000000_to_1000_users"].met is False
    assert figures["ratio_of_1000000_to_1000_users"].met is None
    assert figures["cpu_us_per_event_5000000_users"].value == 2.5
    assert figures["cpu_us_per_new_user"].value == 4.0
    assert figures["memory_bytes_per_user"].value == 950.0


def test_a_quick_look_measures_every_number_of_users() -> None:
    options = BenchOptions(rounds=1, scale=0.0005)
    found = by_name(state.run(options, Console(file=io.StringIO())))
    costs = [figure for name, figure in found.items() if name.startswith("cpu_us")]
    assert len(costs) == 5
    assert all(figure.value > 0.0 for figure in costs)
    assert found["row_bytes_per_user"].value > 0
