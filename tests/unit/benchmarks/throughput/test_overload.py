from dataclasses import replace

from bench_figures import by_name

from freshrank.benchmarks.throughput import overload
from freshrank.benchmarks.workloads.expected_state import LogComparison


def test_overload_holds_memory_against_its_bound_and_counts_what_is_missing() -> None:
    compared = LogComparison(
        wrong_rows=1,
        expected_events=1_000,
        applied_events=990,
        expected_copies=0,
        taken_copies=0,
        expected_examples=50,
        learned_examples=40,
        quarantined_examples=7,
        expected_positives=5,
        labelled_positives=5,
        expected_rows=[],
    )
    figures = by_name(overload.figures(overload.OverloadResults(800, 400, 3.0, 7, compared)))
    assert figures["peak_memory_over_bound"].value == 0.5
    assert figures["lost"].value == 10 + 3 and figures["lost"].met is False
    assert figures["doubled"].value == 0
    assert figures["wrong_values"].met is False
    twice = replace(compared, applied_events=1_002, learned_examples=45)
    figures = by_name(overload.figures(overload.OverloadResults(800, 801, 3.0, 7, twice)))
    assert figures["doubled"].value == 2 + 2 and figures["lost"].value == 0
    assert figures["peak_memory_over_bound"].met is False
