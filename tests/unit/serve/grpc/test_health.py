"""The health service tells readiness, looked at once for all who ask, and that a replica leaves."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

import pytest
from fake_clock import FakeClock

from freshrank.actors.errors import RequestError
from freshrank.serve.grpc import health
from freshrank.serve.grpc.health import SERVICES, Health, HealthCalls


def request(service: str) -> bytes:
    """A HealthCheckRequest, as the standard has it: field 1 is the service's name."""
    name = service.encode()
    return bytes([0x0A, len(name)]) + name


def answer(found: Health) -> bytes:
    """A HealthCheckResponse: field 1 is the status."""
    return bytes([0x08, found])


class Replica:
    """What a replica lacks, and how often that was asked."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.lacks: dict[str, str] = {}
        self.asked = 0
        self.calls = HealthCalls(self.readiness, self.clock)

    async def readiness(self) -> Mapping[str, str]:
        self.asked += 1
        await asyncio.sleep(0)
        return self.lacks

    async def check(self, service: str = "") -> bytes:
        return await self.calls.check(request(service))


@pytest.mark.parametrize("service", SERVICES)
def test_a_replica_that_lacks_something_is_not_serving(service: str) -> None:
    async def story() -> list[bytes]:
        replica = Replica()
        found = [await replica.check(service)]
        replica.lacks["model"] = "no weights"
        replica.clock.advance(health.EVERY_S)
        return [*found, await replica.check(service)]

    assert asyncio.run(story()) == [answer(Health.SERVING), answer(Health.NOT_SERVING)]


def test_however_many_ask_readiness_is_looked_at_once_in_a_while() -> None:
    async def story() -> int:
        replica = Replica()
        await asyncio.gather(*(replica.check() for _ in range(9)))
        replica.clock.advance(0.9 * health.EVERY_S)
        await replica.check()
        return replica.asked

    assert asyncio.run(story()) == 1


def test_an_unknown_service_and_a_message_that_is_none_are_refused() -> None:
    replica = Replica()
    with pytest.raises(RequestError, match=r"no 'shop' here, only '', 'freshrank.v1") as unknown:
        asyncio.run(replica.check("shop"))
    assert unknown.value.status == 404
    with pytest.raises(RequestError, match="not a HealthCheckRequest") as wrong:
        asyncio.run(replica.calls.check(b"\xff"))
    assert wrong.value.status == 400


def test_who_watches_is_told_of_each_change_and_at_last_that_the_replica_leaves(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(health, "EVERY_S", 0.001)

    async def story() -> list[bytes]:
        replica, found = Replica(), []
        async for told in replica.calls.watch(request("")):
            found.append(told)
            replica.clock.advance(1.0)
            if len(found) == 1:
                replica.lacks["model"] = "no weights"
            elif len(found) == 2:
                replica.lacks.clear()
            else:
                replica.calls.drain()
        assert await replica.check() == answer(Health.NOT_SERVING)
        return found

    serving, leaving = answer(Health.SERVING), answer(Health.NOT_SERVING)
    assert asyncio.run(story()) == [serving, leaving, serving, leaving]


def test_who_watches_an_unknown_service_is_told_so_once() -> None:
    async def story() -> list[bytes]:
        replica, found = Replica(), []
        async for told in replica.calls.watch(request("shop")):
            found.append(told)
            replica.calls.drain()
        return found

    assert asyncio.run(story()) == [answer(Health.SERVICE_UNKNOWN)]
