"""A pipeline with local times and fields of structs, from a posted event to its features."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime

import httpx
import msgspec
from fake_clock import FakeClock
from local_endpoint import local_endpoint

from freshrank import (
    Adagrad,
    Count,
    Entity,
    FeatureView,
    Labelled,
    LogisticRegression,
    Pipeline,
    Stream,
    Sum,
    col,
)
from freshrank.deploy.wiring.local import World
from freshrank.feature_actors.connectors.in_memory.log import MemoryLog

NOW_MS = round(datetime(2024, 7, 1, 10, 0, 0, tzinfo=UTC).timestamp() * 1000)


class Device(msgspec.Struct):
    os: str
    price: float | None = None


class Play(msgspec.Struct):
    play_id: str
    listener: str
    song: str
    at: str
    device: Device | None = None


listener = Entity("listener", key="listener")
plays = Stream(
    "plays", id="play_id", time="at", time_zone="Europe/Berlin", key=listener, schema=Play
)


class Listening(FeatureView):
    entity, source = listener, plays
    ios = Count(where=col.device.os == "ios", windows=["1h"])
    unknown = Count(where=col.device.os.is_null(), windows=["1h"])
    spent = Sum("device.price", windows=["1h"])


pipeline = Pipeline(
    "plays",
    stream=plays,
    features=[Listening],
    context=["song"],
    label=Labelled(positive=col.device.os == "ios"),
    model=LogisticRegression(),
    optimizer=Adagrad(),
)


def event(number: int, at: str, **device: object) -> dict[str, object]:
    fields = {"play_id": f"p{number}", "listener": "ann", "song": "a", "at": at}
    return fields | ({"device": device} if device else {})


async def story() -> dict[str, httpx.Response]:
    log, clock = MemoryLog(1), FakeClock(NOW_MS)
    async with local_endpoint(pipeline, World(log, clock)) as (system, client):
        events = [
            event(1, "2024-07-01T11:59:59", os="ios", price=2.5),
            event(2, "2024-07-01T09:30:00Z", os="android", price=4.0),
            event(3, "2024-07-01 11:00:30"),
            event(4, "2024-07-01T10:00:00", os="ios", price=100.0),
        ]
        found = {"posted": await client.post("/v1/events", json=events)}
        found["wrong"] = await client.post("/v1/events", json=event(5, "soon"))
        for _ in range(3):
            await system.step()
        found["features"] = await client.get("/v1/features/listener/ann")
        found["events"] = await client.get("/v1/entities/listener/ann/events")
    return found


def test_a_posted_event_with_a_local_time_and_a_struct_is_in_the_features() -> None:
    found = asyncio.run(story())
    assert found["posted"].status_code == 200
    assert found["wrong"].status_code == 422
    assert "no time of ISO 8601" in found["wrong"].text
    # The fourth is two hours old: Berlin is at +02:00 in July.
    values = found["features"].json()["features"]
    assert (values["ios_1h"], values["unknown_1h"], values["spent_1h"]) == (1, 1, 6.5)
    posted = [one["event"] for one in found["events"].json()["events"]]
    assert {one["play_id"] for one in posted} == {"p1", "p2", "p3", "p4"}
