import numpy as np
import pytest

from freshrank.examples.shop.shoppers import BROWSE_KINDS, Candidate, Shop, ShopSize

NOW_MS = 1_700_000_000_000


def shop(seed: int = 1, size: ShopSize | None = None) -> Shop:
    return Shop(np.random.default_rng(seed), "run", size)


def everything(market: Shop) -> list[float]:
    """The click probability of every item, for one shopper."""
    items = [Candidate(one + 1, one % 20 + 1) for one in range(300)]
    return list(market.click_probability("u00000", items))


def test_the_same_seed_gives_the_same_events() -> None:
    def story(market: Shop) -> list[object]:
        told: list[object] = []
        for _ in range(20):
            market.advance(0.5)
            told += market.browse(10, NOW_MS)
            told += market.react(market.visitor(), market.candidates(5), NOW_MS)
        return told

    assert story(shop(1)) == story(shop(1))
    assert story(shop(1)) != story(shop(2))


def test_event_ids_differ_and_carry_the_run() -> None:
    market = shop()
    ids = [event.event_id for event in market.browse(100, NOW_MS) + market.browse(100, NOW_MS)]
    assert len(set(ids)) == 200
    assert all(one.startswith("run-") for one in ids)


def test_browsing_gives_the_wanted_number_of_its_kinds_at_the_time_given() -> None:
    events = shop().browse(2_000, NOW_MS)
    assert len(events) == 2_000
    assert {event.type for event in events} == set(BROWSE_KINDS)
    assert {event.ts for event in events} == {NOW_MS}
    assert shop().browse(0, NOW_MS) == []


def test_an_item_keeps_its_category_and_price() -> None:
    seen: dict[int, set[tuple[int, float]]] = {}
    for event in shop().browse(5_000, NOW_MS):
        seen.setdefault(event.item_id, set()).add((event.category_id, event.price))
    assert all(len(facts) == 1 for facts in seen.values())


def test_candidates_are_different_items_with_their_own_category() -> None:
    market = shop()
    category = {event.item_id: event.category_id for event in market.browse(20_000, NOW_MS)}
    chosen = market.candidates(50)
    assert len({one.item_id for one in chosen}) == 50
    assert all(one.category_id == category[one.item_id] for one in chosen)


def test_tastes_of_everybody_move_within_a_minute_and_keep_their_spread() -> None:
    market = shop(size=ShopSize(users=10, items=300, categories=20))
    before = np.array(everything(market))
    market.advance(0.1)
    soon = np.array(everything(market))
    for _ in range(1_200):
        market.advance(0.1)
    late = np.array(everything(market))
    assert np.corrcoef(before, soon)[0, 1] > 0.9
    assert np.corrcoef(before, late)[0, 1] < 0.5
    assert 0.02 < late.mean() < 0.4


def test_many_small_steps_drift_as_far_as_one_large_one() -> None:
    spreads = []
    for steps in (1, 50):
        moved = []
        for seed in range(60):
            market = shop(seed, ShopSize(users=2, items=60, categories=20))
            start = np.log(everything_of(market, 60))
            for _ in range(steps):
                market.advance(30.0 / steps)
            moved.append(np.log(everything_of(market, 60)) - start)
        spreads.append(np.concatenate(moved).std())
    assert spreads[0] == pytest.approx(spreads[1], rel=0.15)


def everything_of(market: Shop, items: int) -> list[float]:
    shown = [Candidate(one + 1, one % 20 + 1) for one in range(items)]
    return list(market.click_probability("u00001", shown))


def test_what_a_shopper_browses_tells_what_they_will_click() -> None:
    market = shop(size=ShopSize(users=1, items=300, categories=20))
    browsed = [event.category_id for event in market.browse(50, NOW_MS)]
    favourite = max(set(browsed), key=browsed.count)
    wanted = market.click_probability("u00000", [Candidate(favourite, favourite)])
    odds = wanted / (1 - wanted)
    others = [
        market.click_probability("u00000", [Candidate(one, one)])[0]
        for one in range(1, 21)
        if one != favourite
    ]
    assert browsed.count(favourite) > 30
    assert odds[0] > np.median(others) / (1 - np.median(others))


def test_reactions_follow_the_showing_in_order_and_within_seconds() -> None:
    market = shop()
    reactions = [
        event for _ in range(300) for event in market.react("u00007", market.candidates(10), NOW_MS)
    ]
    assert {event.type for event in reactions} == {"click", "cart", "order"}
    assert all(NOW_MS < event.ts < NOW_MS + 5_000 for event in reactions)
    clicks = [event for event in reactions if event.type == "click"]
    assert max(event.ts for event in clicks) - NOW_MS <= 1_200
    assert {event.user_id for event in reactions} == {"u00007"}


def test_clicks_come_as_often_as_the_probability_says() -> None:
    market = shop(3)
    shown = market.candidates(20)
    expected = market.click_probability("u00003", shown).sum()
    clicks = sum(
        event.type == "click" for _ in range(400) for event in market.react("u00003", shown, 0)
    )
    assert clicks / 400 == pytest.approx(expected, rel=0.1)


def test_the_catalogue_has_each_item_with_the_category_and_price_of_its_events() -> None:
    market = shop()
    rows = {row.item_id: row for row in market.products()}
    assert sorted(rows) == list(range(1, 301))
    for event in market.browse(100, NOW_MS):
        row = rows[event.item_id]
        assert (row.category_id, row.price) == (event.category_id, event.price)
