import asyncio
import json
from collections.abc import Coroutine
from typing import Any

import numpy as np
import pytest
from fake_clock import FakeClock

from freshrank.examples.shop.shoppers import Shop, ShopSize
from freshrank.examples.shop.traffic import Rates, RecommendingTraffic, ShopTraffic

Sent = list[tuple[bytes, dict[str, Any]]]


class EndingClock(FakeClock):
    """A fake clock that cancels whoever sleeps beyond its end."""

    def __init__(self, seconds: float) -> None:
        super().__init__(1_700_000_000_000)
        self._end_ms = self.ms + 1000.0 * seconds

    async def sleep(self, seconds: float) -> None:
        await super().sleep(seconds)
        if self.ms > self._end_ms:
            raise asyncio.CancelledError


class Endpoint:
    """Ranks candidates backwards, or fails in the way that is asked for."""

    def __init__(self, status: int = 200, body: bytes | None = None) -> None:
        self.status = status
        self.body = body
        self.requests: list[dict[str, Any]] = []

    async def ask(self, path: str, body: bytes) -> tuple[int, bytes]:
        request = json.loads(body)
        if path == "/v1/recommend":
            return self.recommended(request)
        self.requests.append(request)
        ranking = list(range(len(request["candidates"])))[::-1]
        return self.status, self.body or json.dumps({"ranking": ranking, "scores": []}).encode()

    def recommended(self, request: dict[str, Any]) -> tuple[int, bytes]:
        assert list(request) == ["user", "k", "candidates"]
        rows = [
            {"item_id": number, "category_id": number % 3 + 1}
            for number in range(request["k"], 0, -1)
        ]
        items = [{"id": row["item_id"], "score": 0.5, "fields": row} for row in rows]
        return self.status, self.body or json.dumps({"items": items}).encode()


def shop() -> Shop:
    return Shop(np.random.default_rng(5), "t", ShopSize(users=50, items=60, categories=10))


def traffic(clock: EndingClock, endpoint: Endpoint, rates: Rates) -> tuple[ShopTraffic, Sent]:
    sent: Sent = []

    async def send(key: bytes, value: bytes) -> None:
        sent.append((key, json.loads(value)))

    return ShopTraffic(shop(), rates, clock, send, endpoint.ask), sent


async def ignore(key: bytes, value: bytes) -> None:
    """Takes an event and does nothing with it."""


def run_until_the_end(loop: Coroutine[Any, Any, None]) -> None:
    with pytest.raises(asyncio.CancelledError):
        asyncio.run(loop)


def test_browsing_goes_at_the_rate_given_with_the_user_as_key() -> None:
    clock = EndingClock(10.0)
    driver, sent = traffic(clock, Endpoint(), Rates(events_per_s=130.0))
    run_until_the_end(driver.browse())
    assert driver.counts.events == len(sent) == pytest.approx(1300, abs=5)
    assert all(key.decode() == event["user_id"] for key, event in sent)
    assert [event["ts"] for _, event in sent] == sorted(event["ts"] for _, event in sent)


def test_scores_are_asked_for_at_the_rate_of_impressions() -> None:
    clock = EndingClock(10.0)
    endpoint = Endpoint()
    driver, _ = traffic(clock, endpoint, Rates(impressions_per_s=100.0, candidates=12, show=4))
    run_until_the_end(driver.show())
    assert len(endpoint.requests) == pytest.approx(250, abs=2)
    assert driver.counts.shown == 4 * driver.counts.requests
    assert all(len(one["candidates"]) == 12 and one["show"] == 4 for one in endpoint.requests)


def test_only_what_was_ranked_best_is_clicked_and_only_when_it_is_due() -> None:
    clock = EndingClock(60.0)
    endpoint = Endpoint()
    driver, sent = traffic(
        clock, endpoint, Rates(events_per_s=0.0, impressions_per_s=10.0, candidates=12, show=3)
    )

    async def both() -> None:
        while await driver.show_once() and len(endpoint.requests) < 200:
            pass
        await driver.browse()

    run_until_the_end(both())
    clicks = [event for _, event in sent if event["type"] == "click"]
    shown = {
        (request["user"], candidate["item_id"])
        for request in endpoint.requests
        for candidate in request["candidates"][-3:]
    }
    assert len(clicks) == driver.counts.clicks > 20
    assert all((one["user_id"], one["item_id"]) in shown for one in clicks)


@pytest.mark.parametrize(
    "endpoint",
    [
        Endpoint(503),
        Endpoint(200, b"not json"),
        Endpoint(200, b'{"ranking": []}'),
        Endpoint(200, b'{"ranking": [99]}'),
    ],
)
def test_a_useless_answer_is_counted_and_nothing_is_shown(endpoint: Endpoint) -> None:
    driver, _ = traffic(EndingClock(5.0), endpoint, Rates())
    assert not asyncio.run(driver.show_once())
    assert driver.counts.failures == 1
    assert driver.counts.shown == 0


def test_an_endpoint_that_is_not_there_is_asked_again_and_again_but_slowly() -> None:
    async def refuse(path: str, body: bytes) -> tuple[int, bytes]:
        raise ConnectionRefusedError

    rates = Rates(impressions_per_s=500.0, show=5)
    driver = ShopTraffic(shop(), rates, EndingClock(10.0), ignore, refuse)
    run_until_the_end(driver.show())
    assert 15 <= driver.counts.failures <= 21


def test_an_event_that_cannot_be_sent_ends_the_traffic() -> None:
    async def broken(key: bytes, value: bytes) -> None:
        raise OSError("gone")

    driver = ShopTraffic(shop(), Rates(), EndingClock(5.0), broken, Endpoint().ask)
    with pytest.raises(OSError, match="gone"):
        asyncio.run(driver.browse())


def test_recommendations_are_shown_where_there_is_a_catalogue() -> None:
    async def run(endpoint: Endpoint) -> RecommendingTraffic:
        rates = Rates(show=7)
        driver = RecommendingTraffic(shop(), rates, EndingClock(5.0), ignore, endpoint.ask)
        await driver.show_once()
        return driver

    counts = asyncio.run(run(Endpoint())).counts
    assert (counts.requests, counts.shown, counts.failures) == (1, 7, 0)
    for useless in (Endpoint(503), Endpoint(body=b"{}"), Endpoint(body=b'{"items": []}')):
        counts = asyncio.run(run(useless)).counts
        assert (counts.requests, counts.shown, counts.failures) == (1, 0, 1)
