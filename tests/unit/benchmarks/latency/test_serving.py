from bench_figures import by_name

from freshrank.benchmarks.latency import serving
from freshrank.benchmarks.latency.load_client import LoadResult
from freshrank.benchmarks.latency.open_loop import OpenLoopResult


def answers(per_s: float, p50_ms: float = 0.5, errors: int = 0) -> LoadResult:
    return LoadResult(per_s, p50_ms, 2 * p50_ms, errors, "")


def test_serving_compares_within_a_round_and_takes_the_middle_round() -> None:
    rounds = [
        {
            ("haproxy", 1): answers(1000, p50_ms=p50),
            ("haproxy", 32): answers(fast),
            ("default", 1): answers(10),
            ("default", 32): answers(slow),
            ("bare", 1): answers(1000),
            ("bare", 32): answers(10_000, errors=1),
        }
        for p50, fast, slow in ((0.4, 4000.0, 200.0), (0.6, 2000.0, 50.0), (9.0, 3000.0, 100.0))
    ]
    figures = by_name(serving.figures(rounds))
    assert figures["p50_ms_c1"].value == 0.6
    assert figures["p50_ms_c1"].met
    assert figures["ratio_to_default_proxy_c32"].value == 30.0
    assert figures["ratio_to_uvicorn_c32"].value == 0.3
    assert figures["errors"].value == 3
    assert figures["errors"].met is False


def test_serving_beside_feast_compares_rates_and_tails_with_32_connections() -> None:
    ours = {("haproxy", 1): answers(1000), ("haproxy", 32): answers(3000, p50_ms=8)}
    others = {(mode, at): answers(100) for mode in ("default", "bare") for at in (1, 32)}
    rounds = [
        {**ours, **others, ("feast", 1): answers(10), ("feast", 32): answers(per_s, p50_ms=p50)}
        for per_s, p50 in ((60.0, 400.0), (20.0, 800.0), (30.0, 50.0))
    ]
    figures = by_name(serving.figures(rounds))
    assert figures["feast_answers_per_s_c32"].value == 30.0
    assert figures["feast_p99_ms_c32"].value == 800.0
    assert figures["ratio_to_feast_c32"].value == 100.0
    assert figures["p99_to_feast_c32"].value == 0.02
    assert figures["p99_to_feast_c32"].met
    assert figures["default_p99_ms_c32"].met is None


def test_serving_without_feast_has_no_figure_of_it() -> None:
    modes = [(mode, at) for mode in ("haproxy", "default", "bare") for at in (1, 32)]
    figures = by_name(serving.figures([dict.fromkeys(modes, answers(100))]))
    assert not [name for name in figures if "feast" in name]


def test_requests_of_many_candidates_are_late_by_the_middle_round() -> None:
    rounds = [OpenLoopResult([1.0] * 99 + [late], failed) for late, failed in ((4.0, 0), (30.0, 1))]
    figures = by_name(serving.of_many_candidates([*rounds, OpenLoopResult([2.0] * 100)]))
    assert figures["p50_ms_500_candidates"].value == 1.0
    assert figures["p99_ms_500_candidates"].met
    assert figures["errors_500_candidates"].met is False
