from bench_figures import by_name

from freshrank.benchmarks.throughput import ingest
from freshrank.benchmarks.throughput.ingest_host import IngestResult


def test_ingest_compares_within_a_round_and_takes_the_middle_round() -> None:
    shard = [IngestResult(seconds, 5.0, 10, 100) for seconds in (10.0, 5.0, 40.0)]
    rekeyed = [IngestResult(seconds, 9.0, 10, 100) for seconds in (20.0, 50.0, 50.0)]
    figures = by_name(ingest.figures(1_000_000, [4.0, 3.0, 4.0], shard, rekeyed))
    assert figures["ratio_to_bare_loop"].value == 0.4
    assert figures["events_per_s"].value == 100_000
    assert figures["events_per_s"].met
    assert figures["cpu_us_per_event"].value == 5.0
    assert figures["rekeyed_events_per_s"].value == 20_000
    assert figures["rekeyed_ratio_to_keyed"].value == 0.5
    assert figures["rekeyed_cpu_us_per_event"].value == 9.0
