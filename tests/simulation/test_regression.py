"""A pipeline whose label is a number: it is learned, served, watched by the guard and resumed."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import msgspec
import numpy as np
import pytest
from fake_clock import FakeClock

from freshrank import (
    Adagrad,
    CosineDecay,
    Count,
    DeepFM,
    Entity,
    FeatureView,
    HuberLoss,
    Labelled,
    LinearRegression,
    Pipeline,
    QuantileLoss,
    SquaredLoss,
    Stream,
    WarmUp,
    col,
)
from freshrank.actors.protocols import JsonValue
from freshrank.deploy.config.settings import Settings
from freshrank.deploy.wiring.local import LocalSystem, World
from freshrank.feature_actors.connectors.in_memory.log import MemoryLog
from freshrank.learner.models.losses import Loss

START_MS = 1_700_000_000_000


class Trip(msgspec.Struct):
    id: str
    rider: str
    zone: str
    minutes: float | None
    at: int


rider = Entity("rider", key="rider")
trips = Stream("trips", id="id", time="at", key=rider, schema=Trip)


class Riding(FeatureView):
    entity, source = rider, trips
    rides = Count(windows=["1h"])


PIPELINE = Pipeline(
    "eta",
    stream=trips,
    features=[Riding],
    context=["zone"],
    label=Labelled(target="minutes", among=col.zone != "test"),
    model=LinearRegression(bias=20.0),
    optimizer=Adagrad(0.5),
)


def minutes(zone: int) -> float:
    """What a trip to a zone takes, without its noise."""
    return 10.0 + 5.0 * zone


def feed(log: MemoryLog, seed: int, count: int, shift: float = 0.0) -> None:
    """Trips of fifty riders to four zones; each tenth is of unknown length."""
    random = np.random.default_rng(seed)
    zones, who = random.integers(0, 4, count).tolist(), random.integers(0, 50, count).tolist()
    noise = random.normal(0.0, 1.0, count)
    made = [
        Trip(
            f"{seed}-{number}",
            f"r{who[number]}",
            f"z{zones[number]}",
            None if number % 10 == 0 else float(minutes(zones[number]) + noise[number] + shift),
            START_MS + seed * 1_000_000 + number,
        )
        for number in range(count)
    ]
    log.distribute(
        "trips",
        [one.rider.encode() for one in made],
        [msgspec.json.encode(one) for one in made],
        np.array([one.at for one in made], np.int64),
    )


async def predicted(system: LocalSystem) -> list[float]:
    candidates: list[JsonValue] = [{"zone": f"z{zone}"} for zone in range(4)]
    answer = await system.score({"rider": "r1", "candidates": candidates})
    return [one for one in answer.scores if one is not None]


def number(value: JsonValue) -> float:
    assert isinstance(value, int | float)
    return float(value)


def test_numbers_are_learned_served_and_resumed() -> None:
    async def play() -> None:
        world = World(MemoryLog(partitions=2), FakeClock(START_MS + 1_004_000))
        feed(world.log, seed=1, count=4_000)
        first = LocalSystem(PIPELINE, Settings(), world)
        await first.start()
        await first.drain()
        status = await first.status()
        assert status["examples"] == 3_600, "those without a number are none"
        assert status["objective"] == "squared_loss"
        assert status["auc"] is None, "there is no such thing for numbers"
        assert number(status["mean_absolute_error_recent"]) < 5.0, "at most that of the mean"
        variance = 5.0**2 * 1.25 + 1.0  # of the zones' times, and of the noise
        assert number(status["squared_loss"]) < variance / 3, "the first predictions included"
        assert status["guard_trips"] == 0
        before = await predicted(first)
        for zone, found in enumerate(before):
            assert found == pytest.approx(minutes(zone), abs=2.5)
        await first.stop()
        again = LocalSystem(PIPELINE, Settings(), world)
        await again.start()
        assert await predicted(again) == before
        await again.stop()

    asyncio.run(play())


def test_a_quantile_by_a_network_at_a_rate_that_falls_is_learned_and_resumed() -> None:
    async def play() -> None:
        world = World(MemoryLog(partitions=2), FakeClock(START_MS + 1_004_000))
        feed(world.log, seed=1, count=8_000)
        pipeline = replace(
            PIPELINE,
            model=DeepFM(4, (8,), loss=QuantileLoss(0.9)),
            optimizer=Adagrad(0.5, schedule=WarmUp(500, then=CosineDecay(6_000))),
        )
        first = LocalSystem(pipeline, Settings(), world)
        await first.start()
        await first.drain()
        status = await first.status()
        assert (status["objective"], status["guard_trips"]) == ("quantile_loss", 0)
        assert number(status["coverage_recent"]) == pytest.approx(0.9, abs=0.15)
        before = await predicted(first)
        for zone, found in enumerate(before):
            assert found == pytest.approx(minutes(zone) + 1.28, abs=1.5), "of a normal distribution"
        await first.stop()
        again = LocalSystem(pipeline, Settings(), world)
        await again.start()
        assert await predicted(again) == before
        await again.stop()

    asyncio.run(play())


@pytest.mark.parametrize(
    "loss", [SquaredLoss(), HuberLoss(1.0), QuantileLoss(0.5), QuantileLoss(0.8)], ids=repr
)
def test_numbers_that_are_wrong_for_a_while_are_rolled_back(loss: Loss) -> None:
    async def play() -> None:
        world = World(MemoryLog(partitions=1), FakeClock(START_MS + 1_004_000))
        pipeline = replace(PIPELINE, model=LinearRegression(bias=20.0, loss=loss))
        system = LocalSystem(pipeline, Settings(), world)
        await system.start()
        feed(world.log, seed=1, count=6_000)
        await system.drain()
        before = await predicted(system)
        feed(world.log, seed=2, count=600, shift=60.0)  # somebody's clock is an hour off
        await system.drain()
        status = await system.status()
        assert number(status["guard_trips"]) >= 1
        assert await predicted(system) == pytest.approx(before, abs=3.0)
        feed(world.log, seed=3, count=1_000)
        await system.drain()
        assert await predicted(system) == pytest.approx(before, abs=3.0)
        await system.stop()

    asyncio.run(play())
