"""What is done when, which records are spoilt, and what the end is judged by."""

import msgspec
import numpy as np
import pytest
from confluent_kafka import Message

from freshrank.actors.messages import RecordBatch
from freshrank.benchmarks.chaos import bench as chaos
from freshrank.benchmarks.chaos.bench import AnswerLog, ChaosResults
from freshrank.benchmarks.chaos.fault_plan import CONCURRENT_FAULTS, GAPS_S, Fault, fault_plans
from freshrank.benchmarks.workloads.dead_letters import MARK, WAYS, DeadLetters, origin, spoilt
from freshrank.benchmarks.workloads.expected_state import LogComparison
from freshrank.benchmarks.workloads.shop_events import shop_events
from freshrank.examples.recommend import behaviour
from freshrank.feature_actors.streams.json_decoder import Codec

NOW_MS = 1_700_000_000_000


def test_each_fault_comes_in_each_round_once_in_an_order_and_at_moments_that_the_seed_decides() -> (
    None
):
    made = fault_plans(4, np.random.default_rng(7))
    assert {fault for hand in CONCURRENT_FAULTS for fault in hand} == set(Fault)
    for plan, hand, (least_s, most_s) in zip(made, CONCURRENT_FAULTS, GAPS_S, strict=True):
        orders = [
            tuple(fault for _, fault in plan[begin : begin + len(hand)])
            for begin in range(0, len(plan), len(hand))
        ]
        assert len(orders) == 4 and len(set(orders)) > 1
        assert all(sorted(order, key=hand.index) == list(hand) for order in orders)
        waits = [wait_s for wait_s, _ in plan]
        assert least_s <= min(waits) < max(waits) <= most_s
    assert (
        made == fault_plans(4, np.random.default_rng(7)) != fault_plans(4, np.random.default_rng(8))
    )


@pytest.mark.parametrize("way", range(WAYS))
def test_a_spoilt_event_bears_the_mark_and_is_dead(way: int) -> None:
    good = [value for _, value in shop_events(3, 9, NOW_MS, np.random.default_rng(0))]
    assert not any(MARK in one for one in good)
    values: list[bytes | None] = [good[0], spoilt(good[1], way), good[2]]
    assert MARK in (values[1] or b"")
    batch = RecordBatch(
        "behaviour", 0, values, np.arange(3, dtype=np.int64), np.full(3, NOW_MS, dtype=np.int64)
    )
    columns, dead = Codec(behaviour).decode(batch)
    assert columns.offsets.tolist() == [0, 2]
    assert [one.offset for one in dead] == [1]


def test_a_spoilt_record_without_a_dead_letter_is_lost_and_a_letter_of_another_is_strange() -> None:
    letters = DeadLetters(
        spoilt=frozenset({("shop", 0, 1), ("shop", 0, 2), ("shop", 1, 1)}),
        dead=frozenset({("shop", 0, 1), ("shown", 0, 2)}),
    )
    assert (letters.lost, letters.strange) == (2, 1)
    assert DeadLetters(letters.spoilt, letters.spoilt).lost == 0


def test_the_origin_of_a_dead_letter_is_read_from_its_headers() -> None:
    told = {"reason": b"no JSON", "topic": b"shop", "partition": b"3", "offset": b"81"}
    letter: Message[bytes, bytes] = Message(topic="shop.dead", offset=5, headers=list(told.items()))
    assert origin(letter) == ("shop", 3, 81)


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
    found = ChaosResults(
        faults=[Fault.HANG],
        events=100,
        compared=LogComparison(
            wrong_rows=2,
            expected_events=100,
            applied_events=99,
            expected_examples=50,
            learned_examples=49,
            quarantined_examples=4,
        ),
        letters=DeadLetters(frozenset({("shop", 0, 1)}), frozenset()),
        answers=answers,
        logged=frozenset("af"),
        checksum_mismatches=0,
        versions_apart=1,
    )
    figures = {one.name: one for one in chaos.figures(found)}
    wrong = {name: one.value for name, one in figures.items() if one.met is False}
    assert wrong == {
        "wrong_values": 2,
        "lost_events": 1,
        "doubled_examples": 3,
        "lost_dead_letters": 1,
        "lost_impressions": 2,
        "versions_apart": 1,
    }
    assert figures["lost_examples"].met and figures["versions_back"].met
    assert figures["doubled_events"].met
    fewer = LogComparison(0, 9, 9, 5, 2, 1)
    assert (fewer.lost_examples, fewer.doubled_examples) == (2, 0)
    assert figures["faults"].value == 1 and figures["faults"].met is None
    assert figures["not_logged_meanwhile"].value == 2
