from bench_figures import by_name

from freshrank.benchmarks.latency import serving
from freshrank.benchmarks.latency.load_client import LoadResult


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
