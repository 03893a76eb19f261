"""The cost of an event of few and of many users."""

from __future__ import annotations

import io

from bench_figures import by_name
from rich.console import Console

from freshrank.benchmarks.registry import BenchOptions
from freshrank.benchmarks.throughput import users


def test_the_ratio_is_that_of_the_middle_round() -> None:
    found = by_name(users.figures({users.FEW: [1.0, 2.0, 1.0], users.MANY: [4.0, 2.5, 1.5]}))
    assert found["ratio_of_many_to_few_users"].value == 1.5
    assert found["ratio_of_many_to_few_users"].met
    assert found["cpu_us_per_event_of_few_users"].value == 1.0
    assert found["cpu_us_per_event_of_many_users"].value == 2.5


def test_a_quick_look_measures_both() -> None:
    options = BenchOptions(rounds=1, scale=0.002)
    found = by_name(users.run(options, Console(file=io.StringIO())))
    assert all(figure.value > 0.0 for figure in found.values())
