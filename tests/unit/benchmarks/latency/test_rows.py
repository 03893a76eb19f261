"""The figures of how soon a row can be read."""

from __future__ import annotations

from bench_figures import by_name

from freshrank.benchmarks.latency.rows import bench
from freshrank.benchmarks.latency.rows.row_probes import RowLatencies
from freshrank.benchmarks.throughput.ingest_host import ANY, ITEM, KEYED
from freshrank.benchmarks.workloads.shop_fixture import shop_file


def test_quantiles_by_way_and_rate_and_what_is_missing() -> None:
    quick, slow = [float(at) for at in range(1, 101)], [200.0] * 100
    found = by_name(
        bench.figures(
            {(KEYED, 1_000): RowLatencies(quick), (ANY, 5_000): RowLatencies(slow, missing=2)}
        )
    )
    assert 50.0 <= found["keyed_1k_p50_ms"].value <= 51.0
    assert 99.0 <= found["keyed_1k_p99_ms"].value <= 100.0
    assert found["exchanged_5k_p99_ms"].value == 200.0
    assert (found["keyed_1k_p99_ms"].reach, found["exchanged_5k_p99_ms"].reach) == (20.0, 60.0)
    assert found["missing"].value == 2
    assert "keyed_1k_log_p50_ms" not in found


def test_quantiles_of_the_stages() -> None:
    spent_ms = {"log": [4.0], "row": [20.0], "look": [6.0]}
    one = RowLatencies([30.0], stages_ms=spent_ms, cpu_us=40.0)
    found = by_name(bench.figures({(KEYED, 5_000): one}))
    spent = [found[f"keyed_5k_{stage}_p99_ms"].value for stage in ("log", "row", "look")]
    assert spent == [4.0, 20.0, 6.0]
    assert found["keyed_5k_shard_cpu_us"].value == 40.0


def test_rows_of_items_are_measured_by_a_pipeline_that_copies_its_records_for_them() -> None:
    found = by_name(bench.figures({(ITEM, 5_000): RowLatencies([10.0, 70.0])}))
    assert found["item_5k_p99_ms"].value == 70.0
    assert found["item_5k_p99_ms"].met is False
    (of_items,) = shop_file(of_items=True).load().candidate_plans
    assert of_items.entity.name == "item"
    assert of_items.tables[0].source.rekeyed
