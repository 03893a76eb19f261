import numpy as np
import pytest
from confluent_kafka import Message

from freshrank.benchmarks.workloads.dead_letters import MARK, WAYS, DeadLetters, origin, spoilt
from freshrank.benchmarks.workloads.shop_events import shop_events
from freshrank.examples.recommend import behaviour
from freshrank.feature_actors.connectors.in_memory.log import consecutive_records
from freshrank.feature_actors.streams.codec import Codec

NOW_MS = 1_700_000_000_000


@pytest.mark.parametrize("way", range(WAYS))
def test_a_spoilt_event_bears_the_mark_and_is_dead(way: int) -> None:
    good = [value for _, value in shop_events(3, 9, NOW_MS, np.random.default_rng(0))]
    assert not any(MARK in one for one in good)
    values: list[bytes | None] = [good[0], spoilt(good[1], way), good[2]]
    assert MARK in (values[1] or b"")
    batch = consecutive_records("behaviour", 0, values, NOW_MS)
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
