"""The figures of reads beside Feast's, and a run without Feast."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

import msgspec
from bench_figures import by_name
from rich.console import Console

from freshrank.actors.errors import Unavailable
from freshrank.benchmarks.latency import reads
from freshrank.benchmarks.latency.reads import OURS, Reads
from freshrank.benchmarks.workloads.shop_fixture import shop_file


def of(latency_ms: float) -> list[Reads]:
    cpus_ms, pings_ms = [latency_ms / 2] * 98 + [latency_ms] * 2, [0.1] * 98 + [0.7] * 2
    return [Reads([latency_ms] * 100, latency_ms / 2, cpus_ms, pings_ms)] * 3


def test_the_ratio_is_to_the_faster_way_of_asking() -> None:
    found = by_name(reads.figures({OURS: of(2.0), "one_call": of(60.0), "two_calls": of(24.0)}))
    assert found["ratio_of_feast_p50"].value == 12.0
    assert found["ratio_of_feast_p50"].met
    assert found["freshrank_p99_ms"].met
    assert found["feast_one_call_p99_ms"].met is None
    assert found["feast_two_calls_cpu_ms"].value == 12.0
    assert (found["freshrank_p99_cpu_ms"].value, found["ping_p99_ms"].value) == (2.0, 0.7)


def test_feast_is_asked_for_as_many_features() -> None:
    asked: list[str] = []

    def run(script: Path, arguments: Sequence[str]) -> bytes:
        assert script.name == "peer_features.py"
        asked.extend(arguments)
        return msgspec.json.encode({"one_call": of(3.0)[0]})

    pipeline = shop_file(of_items=True).load()
    console = Console(file=io.StringIO())
    found = reads.read_by_feast(pipeline, "unix:///a", 7, console, run)
    # Nine numbers, eight categories and five items of the user; four numbers of an item.
    assert asked == ["7", "100", "22", "4", "unix:///a"]
    assert found["one_call"].latencies_ms[0] == 3.0


def test_without_feast_the_own_figures_stand_alone() -> None:
    def run(script: Path, arguments: Sequence[str]) -> bytes:
        raise Unavailable("peer_features.py", "no network")

    said = io.StringIO()
    pipeline = shop_file(of_items=True).load()
    assert reads.read_by_feast(pipeline, "unix:///a", 7, Console(file=said), run) == {}
    assert "Feast is left out" in said.getvalue()
    assert "ratio_of_feast_p50" not in by_name(reads.figures({OURS: of(2.0)}))
