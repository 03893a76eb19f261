"""What the bench of recommendations writes, asks and says."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import msgspec
import numpy as np
import pytest
from bench_figures import by_name

from freshrank.benchmarks.latency import recommendations as bench
from freshrank.benchmarks.workloads.system_process import CoreTime, core_time


def test_the_shop_has_topics_of_its_own(tmp_path: Path) -> None:
    path, pipeline = bench.catalogue_shop(tmp_path)
    assert path.read_text(encoding="utf-8").count("Pipeline(") == 1
    assert pipeline.name.startswith("bench-")
    assert pipeline.stream.topic == pipeline.name
    assert [table.topic for table in pipeline.tables] == [f"{pipeline.name}-catalogue"]
    assert pipeline.retrieval is not None


def test_rows_are_those_of_the_shops_catalogue() -> None:
    rows = list(bench.catalogue_rows(250))
    assert [int(key) for key, _ in rows] == list(range(1, 251))
    categories = {msgspec.json.decode(row)["category_id"] for _, row in rows}
    assert categories == set(range(1, bench.CATEGORIES + 1))


@pytest.mark.parametrize("filtered", [False, True])
def test_requests_name_a_user_and_maybe_filters(filtered: bool) -> None:
    body = msgspec.json.decode(bench.request_body(np.random.default_rng(0), filtered=filtered))
    assert ("filters" in body, "diversify" in body) == (filtered, filtered)
    assert body["user"].startswith("u")


def test_figures_are_quantiles_and_a_failure_is_one() -> None:
    plain = bench.Answers([1.0, 2.0, 40.0], 0, [200, 100])
    filtered, probes = bench.Answers([5.0], 1, []), bench.Answers([90.0])
    cores = {"replica": CoreTime(0.5, 0.2), "shard": CoreTime(0.7, 0.4)}
    found = by_name(bench.figures(plain, filtered, probes, cores))
    assert found["recommend_p50_ms"].value == 2.0
    assert found["recommend_p99_ms"].met is False
    assert found["recommend_filtered_p99_ms"].met
    assert found["event_to_recommendation_p99_ms"].met
    assert found["candidates_ranked"].value == 150.0
    assert np.isnan(found["candidates_ranked_filtered"].value)
    assert found["failed"].met is False
    assert found["replica_cores"].value == 0.5
    assert found["shard_waits_cores"].value == 0.4


def test_the_time_of_processes_grows_and_those_that_have_ended_have_none() -> None:
    # Of a process without other threads: a thread that ends takes its time with it.
    work = "print(flush=True); input(); print(sum(range(3_000_000)), flush=True); input()"
    pipe = subprocess.PIPE
    with subprocess.Popen([sys.executable, "-c", work], stdin=pipe, stdout=pipe, text=True) as one:
        assert one.stdin is not None
        assert one.stdout is not None
        found = list[CoreTime]()
        for _ in range(2):
            one.stdout.readline()
            found.append(core_time([one.pid]))
            print(file=one.stdin, flush=True)
    before, after = found
    assert after.ran_s > before.ran_s
    assert after.waited_s >= before.waited_s
    assert core_time([2**22 + 1]) == (0.0, 0.0)
