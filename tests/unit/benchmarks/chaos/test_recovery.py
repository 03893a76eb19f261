from bench_figures import by_name

from freshrank.benchmarks.chaos import recovery


def test_recovery_tells_lost_examples_from_doubled_ones() -> None:
    found = recovery.RecoveryResults(
        to_fresh_s=[2.0, 9.0, 2.5],
        expected_examples=100,
        learned_examples=97,
        to_version_s=[4.0],
        replica_answers=recovery.AnswerCounts(requests=20_000, server_errors=1, broken=3),
    )
    figures = by_name(recovery.figures(found))
    assert figures["seconds_to_fresh_p50"].value == 2.5
    assert figures["lost_examples"].value == 3 and figures["lost_examples"].met is False
    assert figures["doubled_examples"].value == 0 and figures["doubled_examples"].met
    assert figures["answers_5xx"].met is False
    assert figures["broken_connections_per_10000"].value == 1.5
    found.learned_examples = 102
    figures = by_name(recovery.figures(found))
    assert (figures["lost_examples"].value, figures["doubled_examples"].value) == (0, 2)
