"""What is done when, which records are spoilt, and what the end is judged by."""

import msgspec
import numpy as np
import pytest
from confluent_kafka import Message

from freshrank.actors.messages import RecordBatch
from freshrank.benchmarks import chaos
from freshrank.benchmarks.chaos import Survived, Versions
from freshrank.benchmarks.dead_letters import MARK, WAYS, DeadLetters, origin, spoilt
from freshrank.benchmarks.faults import GAP_S, HANDS, Fault, plans
from freshrank.benchmarks.log_truth import Compared
from freshrank.benchmarks.workload import shop_events
from freshrank.examples.recommend import behaviour
from freshrank.feature_actors.codec import Codec

NOW_MS = 1_700_000_000_000


def test_each_fault_comes_in_each_round_once_in_an_order_and_at_moments_that_the_seed_decides() -> (
    None
):
    made = plans(4, np.random.default_rng(7))
    assert {fault for hand in HANDS for fault in hand} == set(Fault)
    for plan, hand in zip(made, HANDS, strict=True):
        orders = [
            tuple(fault for _, fault in plan[begin : begin + len(hand)])
            for begin in range(0, len(plan), len(hand))
        ]
        assert len(orders) == 4 and len(set(orders)) > 1
        assert all(sorted(order, key=hand.index) == list(hand) for order in orders)
        waits = [wait_s for wait_s, _ in plan]
        assert min(waits) >= GAP_S[0] and max(waits) <= GAP_S[1] and len(set(waits)) == len(plan)
    assert made == plans(4, np.random.default_rng(7)) != plans(4, np.random.default_rng(8))


@pytest.mark.parametrize("way", range(WAYS))
def test_a_spoilt_event_bears_the_mark_and_is_dead(way: int) -> None:
    good = [value for _, value in shop_events(3, 9, NOW_MS, np.random.default_rng(0))]
    assert not any(MARK in one for one in good)
    values = [good[0], spoilt(good[1], way), good[2]]
    assert MARK in values[1]
    batch = RecordBatch(
        "behaviour", 0, values, np.arange(3, dtype=np.int64), np.full(3, NOW_MS, dtype=np.int64)
    )
    columns, dead = Codec(behaviour).decode(batch)
    assert columns.offsets.tolist() == [0, 2]
    assert [one.offset for one in dead] == [1]


def test_a_dead_letter_is_lost_when_its_record_has_none_and_strange_when_it_has_no_such_record() -> (
    None
):
    letters = DeadLetters(
        spoilt=frozenset({("shop", 0, 1), ("shop", 0, 2), ("shop", 1, 1)}),
        dead=frozenset({("shop", 0, 1), ("shown", 0, 2)}),
    )
    assert (letters.lost, letters.strange) == (2, 1)
    assert DeadLetters(letters.spoilt, letters.spoilt).lost == 0


def test_the_origin_of_a_dead_letter_is_read_from_its_headers() -> None:
    headers = [("reason", b"no JSON"), ("topic", b"shop"), ("partition", b"3"), ("offset", b"81")]
    assert origin(Message(topic="shop.dead", partition=0, offset=5, headers=headers)) == (
        "shop",
        3,
        81,
    )


def answer(version: str | None) -> bytes:
    return msgspec.json.encode({"request_id": "r", "model": {"version": version, "age_ms": 1}})


def test_an_answer_of_older_weights_or_of_none_goes_back() -> None:
    versions = Versions()
    for version in (None, "1.1", "1.1", "1.9", "2.1"):
        versions.heard(200, answer(version))
    versions.heard(503, b"no JSON")
    assert (versions.answers, versions.back) == (5, 0)
    for version in ("1.20", None, "2.1"):
        versions.heard(200, answer(version))
    assert (versions.answers, versions.back) == (8, 2)


def test_the_figures_tell_lost_from_doubled_and_judge_all_that_must_not_be() -> None:
    versions = Versions(answers=90)
    letters = DeadLetters(frozenset({("shop", 0, 1)}), frozenset())
    found = Survived([Fault.HANG], 100, Compared(2, 50, 53), letters, versions, 0, 1)
    figures = {one.name: one for one in chaos.figures(found)}
    wrong = {name: one.value for name, one in figures.items() if one.met is False}
    assert wrong == {
        "wrong_values": 2,
        "doubled_examples": 3,
        "lost_dead_letters": 1,
        "versions_apart": 1,
    }
    assert figures["lost_examples"].met and figures["versions_back"].met
    assert (Compared(0, 5, 3).lost_examples, Compared(0, 5, 3).doubled_examples) == (2, 0)
    assert figures["faults"].value == 1 and figures["faults"].met is None
