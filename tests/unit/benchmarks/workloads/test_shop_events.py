from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import msgspec
import numpy as np
import pytest
from confluent_kafka import Producer

from freshrank.actors.errors import Unavailable
from freshrank.benchmarks.workloads import shop_events as workload
from freshrank.benchmarks.workloads.shop_events import TopicFiller, shop_events
from freshrank.examples.shop.shoppers import ShopEvent

NEWEST = 1_700_000_000_000


def events(count: int, users: int, seed: int = 1) -> list[tuple[bytes, ShopEvent]]:
    made = shop_events(count, users, NEWEST, np.random.default_rng(seed))
    return [(key, msgspec.json.decode(value, type=ShopEvent)) for key, value in made]


def test_the_wanted_number_of_events_comes_in_time_order_up_to_the_newest() -> None:
    times = [event.ts for _, event in events(60_000, 100)]
    assert len(times) == 60_000
    assert times == sorted(times)
    assert times[-1] == NEWEST


def test_events_are_keyed_by_their_user_and_have_ids_of_their_own() -> None:
    made = events(1_000, 50)
    assert all(key.decode() == event.user_id for key, event in made)
    assert len({event.event_id for _, event in made}) == 1_000
    assert len({event.user_id for _, event in made}) == 50


def test_the_same_seed_gives_the_same_events() -> None:
    assert events(100, 10, seed=3) == events(100, 10, seed=3)
    assert events(100, 10, seed=3) != events(100, 10, seed=4)


def test_few_items_get_most_of_the_events() -> None:
    items = [event.item_id for _, event in events(20_000, 10)]
    assert sum(item <= 2_000 for item in items) > 8_000
    assert max(items) <= 20_000


class TakingProducer:
    """A client whose broker takes everything."""

    def __init__(self) -> None:
        self.taken: list[tuple[bytes, bytes | None, int]] = []

    def produce(
        self,
        topic: str,
        value: bytes | None,
        key: bytes,
        *,
        on_delivery: Callable[[None, Any], None],
        timestamp: int,
    ) -> None:
        self.taken.append((key, value, timestamp))
        on_delivery(None, None)

    def poll(self, timeout_s: float) -> None:
        pass

    def flush(self, timeout_s: float) -> int:
        return 0


def test_what_a_client_holds_for_ever_is_written_by_another(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(workload, "FLUSH_TIMEOUT_S", 0.1)
    clients: list[Any] = [Producer({"bootstrap.servers": "127.0.0.1:1", "log_level": 0})]
    clients.append(TakingProducer())
    given = iter(clients)
    monkeypatch.setattr(workload, "Producer", lambda config: next(given))
    filler = TopicFiller("127.0.0.1:1", "shop")
    filler.write(b"ann", b"1")
    filler.write(b"bob", None)
    written_ms = time.time_ns() // 1_000_000
    filler.finish()
    assert [(key, value) for key, value, _ in clients[1].taken] == [(b"ann", b"1"), (b"bob", None)]
    assert all(at_ms <= written_ms for _, _, at_ms in clients[1].taken), "they are of then"
    assert filler.delivered == 2


def test_records_that_no_client_can_write_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workload, "FLUSH_TIMEOUT_S", 0.1)
    filler = TopicFiller("127.0.0.1:1", "shop")
    filler.write(b"ann", b"1")
    with pytest.raises(Unavailable, match="1 records were not written"):
        filler.finish()
