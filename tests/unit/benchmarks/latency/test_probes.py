import asyncio
import json
from collections.abc import Coroutine
from typing import Any

import pytest
from fake_clock import FakeClock

from freshrank.benchmarks.latency.probes import ImpressionPositions, Prober, UnusableAnswer
from freshrank.examples.shop.shoppers import Candidate

REQUEST_MS = 1.0
"""What one request takes, and one look of the clock's owner."""


class System:
    """Shows an event in the features, and in the weights, so many seconds after it was sent."""

    def __init__(self, clock: FakeClock, features_s: float = 0.05, weights_s: float = 0.2) -> None:
        self.clock = clock
        self.features_s = features_s
        self.weights_s = weights_s
        self.sent: list[tuple[float, dict[str, Any]]] = []
        self.status = 200
        self.shown: list[int] = []
        self.impressions_until_s = 0.0
        """Until then the learner has not applied the impression, which lies at offset 7."""

    async def send(self, key: bytes, value: bytes) -> tuple[int, int]:
        self.sent.append((self.clock.monotonic(), json.loads(value)))
        self.clock.advance(0.003)
        return 3, 41

    async def post(self, path: str, body: bytes) -> tuple[int, bytes]:
        self.clock.advance(REQUEST_MS / 1000)
        self.shown.append(json.loads(body)["show"])
        used = self._passed(self.features_s)
        answer = {
            "request_id": "r1",
            "model": {"version": "1.9" if self._passed(self.weights_s) else "1.8", "age_ms": 1},
            "features": {"source": "online", "offset": 41 if used else None},
            "scores": [],
            "ranking": [],
        }
        return self.status, json.dumps(answer).encode()

    async def get(self, path: str) -> tuple[int, bytes]:
        assert path == "/v1/model"
        self.clock.advance(REQUEST_MS / 1000)
        learned = self._passed(self.weights_s)
        impressions = 7 if self.clock.monotonic() < self.impressions_until_s else 8
        applied = {
            "3": {"shop": 42, "seen": impressions} if learned else {"shop": 41, "seen": 8},
            "0": {"shop": 99, "seen": 99},
        }
        version = "1.9" if learned else "1.8"
        return self.status, json.dumps({"version": version, "applied": applied}).encode()

    def _passed(self, seconds: float) -> bool:
        return bool(self.sent) and self.clock.monotonic() - self.sent[-1][0] >= seconds


class Log:
    """The impressions of all requests lie in one place."""

    async def position_of(self, request_id: str) -> tuple[int, int]:
        assert request_id == "r1"
        return 3, 7


def prober(system: System) -> Prober:
    items = [Candidate(one, one) for one in (5, 6)]
    return Prober(system.send, Log(), system.clock, items, "shop", "seen")


def run(probe: Coroutine[Any, Any, float]) -> float:
    return asyncio.run(probe)


def make(**times: float) -> System:
    return System(FakeClock(100_000), **times)


def test_a_feature_probe_lasts_from_the_send_to_the_first_answer_that_used_the_event() -> None:
    system = make(features_s=0.05)
    latency = run(prober(system).feature("u", system))
    assert 50.0 <= latency <= 50.0 + 8 * REQUEST_MS
    assert [event["type"] for _, event in system.sent] == ["view"]
    assert set(system.shown) == {0}


def test_a_weights_probe_shows_first_clicks_then_and_waits_for_a_version_with_both() -> None:
    system = make(weights_s=0.2)
    latency = run(prober(system).weights("u", system))
    assert 200.0 <= latency <= 200.0 + 6 * REQUEST_MS
    ((at, event),) = system.sent
    assert event["type"] == "click"
    assert event["item_id"] == 5
    assert at >= 100.3
    assert system.shown[0] == 2
    assert set(system.shown[1:]) == {0}


def test_a_version_without_the_impression_does_not_contain_the_example() -> None:
    system = make(weights_s=0.01)
    system.impressions_until_s = 101.0  # the click is sent at 100.3
    assert run(prober(system).weights("u", system)) > 600.0


def test_an_answer_that_is_not_200_ends_a_probe() -> None:
    system = make()
    system.status = 503
    with pytest.raises(UnusableAnswer, match="503"):
        run(prober(system).feature("u", system))
    with pytest.raises(UnusableAnswer, match="503"):
        run(prober(system).weights("u", system))


def test_places_are_found_whether_they_are_asked_for_before_or_after_they_are_read() -> None:
    async def both() -> list[tuple[int, int]]:
        places = ImpressionPositions()
        asked = asyncio.create_task(places.position_of("a"))
        await asyncio.sleep(0)
        places.add({"a": (1, 2), "b": (3, 4)})
        places.add({"a": (9, 9)})  # read again after a reconnection
        return [await asked, await places.position_of("b")]

    assert asyncio.run(both()) == [(1, 2), (3, 4)]
