"""What the answers and the end of a chaos run are judged by."""

import msgspec
from bench_figures import by_name

from freshrank.benchmarks.chaos import bench as chaos
from freshrank.benchmarks.chaos.bench import ChaosResults, SystemAtEnd
from freshrank.benchmarks.chaos.part_faults import HANG, SHARD
from freshrank.benchmarks.workloads.dead_letters import DeadLetters
from freshrank.benchmarks.workloads.expected_state import LogComparison
from freshrank.benchmarks.workloads.scored_answer import AnswerLog


def answer(version: str | None, request: str = "r") -> bytes:
    return msgspec.json.encode(
        {
            "request_id": request,
            "model": {"version": version, "age_ms": 1},
            "features": {"source": "online", "offset": 3},
        }
    )


def test_an_answer_of_older_weights_or_of_none_goes_back() -> None:
    answers = AnswerLog()
    for version in (None, "1.1", "1.1", "1.9", "2.1"):
        answers.add(200, answer(version))
    answers.add(503, b"no JSON")
    assert (answers.count, answers.back) == (5, 0)
    for version in ("1.20", None, "2.1"):
        answers.add(200, answer(version))
    assert (answers.count, answers.back) == (8, 2)


def test_the_figures_tell_lost_from_doubled_and_judge_all_that_must_not_be() -> None:
    answers = AnswerLog()
    for request in ("a", "b", "c", "d", "e", "f"):
        answers.faults_over = request > "c"
        answers.add(200, answer("1.1", request))
    end = SystemAtEnd(
        compared=LogComparison(
            wrong_rows=2,
            expected_events=100,
            applied_events=99,
            expected_copies=80,
            taken_copies=81,
            expected_examples=50,
            learned_examples=49,
            quarantined_examples=4,
            expected_positives=9,
            labelled_positives=7,
            expected_rows=[],
        ),
        letters=DeadLetters(frozenset({("shop", 0, 1)}), frozenset()),
        logged=frozenset("af"),
        mislabelled=3,
        checksum_mismatches=0,
        versions_apart=1,
    )
    found = ChaosResults([HANG, SHARD], silent=[HANG], events=100, answers=answers, end=end)
    figures = by_name(chaos.figures(found))
    wrong = {name: one.value for name, one in figures.items() if one.met is False}
    assert wrong == {
        "silent": 1,
        "mislabelled": 3,
        "positives_apart": 2,
        "wrong_values": 2,
        "lost_events": 1,
        "doubled_copies": 1,
        "doubled_examples": 3,
        "lost_dead_letters": 1,
        "lost_impressions": 2,
        "versions_apart": 1,
    }
    assert figures["lost_examples"].met and figures["versions_back"].met
    assert figures["doubled_events"].met
    fewer = LogComparison(0, 9, 9, 4, 2, 5, 2, 1, 2, 2, [])
    assert (fewer.lost_examples, fewer.doubled_examples) == (2, 0)
    assert (fewer.lost_copies, fewer.doubled_copies) == (2, 0)
    assert figures["faults"].value == 2 and figures["faults"].met is None
    assert figures["not_logged_meanwhile"].value == 2
