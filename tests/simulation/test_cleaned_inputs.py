"""A pipeline whose numbers are cleaned is learned, served, explained and resumed."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TypeAlias, cast

import msgspec
import numpy as np
import pytest
from fake_clock import FakeClock

from freshrank import (
    Bucketed,
    Clipped,
    Count,
    Entity,
    FeatureView,
    Imputed,
    Labelled,
    LogisticRegression,
    Pipeline,
    Scaled,
    Stream,
    col,
)
from freshrank.actors.protocols import JsonValue
from freshrank.deploy.config.settings import Settings
from freshrank.deploy.wiring.local import LocalSystem, World
from freshrank.feature_actors.connectors.in_memory.log import MemoryLog
from freshrank.serve.explanation.explainer import Explainer

START_MS = 1_700_000_000_000
COUNT = 6_000
BATCH = 250


class Offer(msgspec.Struct):
    id: str
    buyer: str
    shop: str
    price: float | None
    age: float | None
    kind: str
    at: int


buyer = Entity("buyer", key="buyer")
offers = Stream("offers", id="id", time="at", key=buyer, schema=Offer)


class Buying(FeatureView):
    entity, source = buyer, offers
    seen = Count(windows=["1h"])


PLAIN = Pipeline(
    "offers",
    stream=offers,
    features=[Buying],
    context=["shop", "price", "age"],
    label=Labelled(positive=col.kind == "bought"),
    model=LogisticRegression(),
)
CLEANED = replace(
    PLAIN,
    cleaning=[
        Clipped("price", low=0.01, high=0.99),
        Bucketed("price", 8),
        Imputed("age", "median"),
        Clipped("age", deviations=4.0),
        Scaled("age", "robust"),
    ],
    crosses=[("shop", "price_bucket"), ("buyer", "shop", "price_bucket")],
)


def feed(log: MemoryLog) -> None:
    """Prices in the middle are bought; a few are wild, and some are missing."""
    random = np.random.default_rng(7)
    price, age = np.exp(random.normal(3.0, 1.0, COUNT)), random.normal(40.0, 5.0, COUNT)
    odds = np.where(np.abs(np.log(price) - 3.0) < 0.6, 0.85, 0.1)
    bought = random.random(COUNT) < odds
    price[random.random(COUNT) < 0.01] *= 1e6
    missing, unknown = random.random(COUNT) < 0.05, random.random(COUNT) < 0.2
    made = [
        Offer(
            f"e{number}",
            f"b{number % 40}",
            f"s{number % 3}",
            None if missing[number] else float(price[number]),
            None if unknown[number] else float(age[number]),
            "bought" if bought[number] else "left",
            START_MS + number * 10,
        )
        for number in range(COUNT)
    ]
    log.distribute(
        "offers",
        [one.buyer.encode() for one in made],
        [msgspec.json.encode(one) for one in made],
        np.array([one.at for one in made], np.int64),
    )


def system_of(pipeline: Pipeline, world: World, shards: int = 1) -> LocalSystem:
    settings = Settings()
    wanted = settings.shards.model_copy(update={"count": shards})
    return LocalSystem(pipeline, settings.model_copy(update={"shards": wanted}), world, BATCH)


def fed_world() -> World:
    world = World(MemoryLog(partitions=2), FakeClock(START_MS + COUNT * 10 + 1_000))
    feed(world.log)
    return world


CANDIDATES: list[JsonValue] = [
    {"shop": "s1", "price": 20.0, "age": 40.0},
    {"shop": "s1", "price": 2.0, "age": 40.0},
    {"shop": "s1", "price": None, "age": None},
    {"shop": "s1", "price": 1e9, "age": 41.0},
]


async def scores(system: LocalSystem) -> list[float | None]:
    answer = await system.score({"buyer": "b1", "candidates": CANDIDATES})
    return list(answer.scores)


def test_buckets_of_running_quantiles_learn_what_a_line_cannot() -> None:
    async def play() -> None:
        found = {}
        for name, pipeline in (("plain", PLAIN), ("cleaned", CLEANED)):
            system = system_of(pipeline, fed_world())
            await system.start()
            await system.drain()
            status = await system.status()
            found[name] = cast(float, status["auc"])
            if pipeline is CLEANED:
                common, cheap, *_ = await scores(system)
                assert common is not None and cheap is not None
                assert common > 0.6
                assert cheap < 0.3
            await system.stop()
        assert found["plain"] < 0.6, "the odds fall on both sides"
        assert found["cleaned"] > 0.78

    asyncio.run(play())


End: TypeAlias = tuple[str | None, list[float | None]]


async def end_of(system: LocalSystem) -> End:
    """The checksum of the newest weights, and what the replica serves by them."""
    served = await scores(system)
    newest = (await system.learner.newer_than(None, 0.0))[-1]
    await system.stop()
    return newest.checksum, served


def test_shards_replicas_and_a_system_that_crashed_agree_to_the_last_bit() -> None:
    async def whole(shards: int) -> End:
        system = system_of(CLEANED, fed_world(), shards)
        await system.start()
        await system.drain()
        return await end_of(system)

    async def crashed() -> End:
        world = fed_world()
        first = system_of(CLEANED, world, 2)
        await first.start()
        for _ in range(9):
            await first.step()
        await first.learner.save()
        for _ in range(4):
            await first.step()  # which nobody writes down
        again = system_of(CLEANED, world, 2)
        await again.start()
        await again.drain()
        return await end_of(again)

    async def play() -> None:
        one = await whole(1)
        assert one == await whole(2) == await crashed()

    asyncio.run(play())


def test_an_explanation_has_buckets_by_their_numbers_and_adds_up() -> None:
    async def play() -> None:
        system = system_of(CLEANED, fed_world())
        await system.start()
        await system.drain()
        served = await scores(system)
        body = {"buyer": "b1", "candidates": CANDIDATES}
        answer = await Explainer(system.replica).explain(msgspec.json.encode(body))
        for one, score, candidate in zip(answer.candidates, served, CANDIDATES, strict=True):
            assert one is not None and isinstance(candidate, dict)
            assert one.score == score
            added = one.base + sum(each.contribution for each in one.contributions)
            assert one.logit == pytest.approx(added, abs=1e-4)
            values = {each.input: each.value for each in one.contributions}
            assert values["price_bucket"] == values["price"] == candidate["price"]
            assert values["shop_x_price_bucket"] == {
                "shop": values["shop"],
                "price_bucket": candidate["price"],
            }
        await system.stop()

    asyncio.run(play())
