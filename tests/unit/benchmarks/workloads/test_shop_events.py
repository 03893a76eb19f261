import msgspec
import numpy as np

from freshrank.benchmarks.workloads.shop_events import shop_events
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
