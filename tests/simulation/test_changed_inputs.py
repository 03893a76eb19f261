"""A system whose pipeline gets and loses features goes on with the weights that it has."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import replace

import msgspec
import numpy as np
import pytest
from fake_clock import ManualClock

from freshrank import (
    AutoAdagrad,
    Averaged,
    Count,
    DeepFM,
    Entity,
    FeatureView,
    Labelled,
    LogisticRegression,
    Pipeline,
    Stream,
    Sum,
    col,
)
from freshrank.actors.protocols import JsonValue
from freshrank.deploy.config.settings import Settings
from freshrank.deploy.wiring.local import LocalSystem, World
from freshrank.feature_actors.connectors.in_memory.log import MemoryLog
from freshrank.learner.models.base import ModelSpec
from freshrank.learner.optimizers.base import Optimizer

EVENTS, START_MS = 1_200, 1_700_000_000_000


class Visit(msgspec.Struct):
    id: str
    user: str
    item: str
    shop: str
    price: float
    bought: int
    at: int


class Search(msgspec.Struct):
    id: str
    user: str
    at: int


USER = Entity("user", key="user")
VISITS = Stream("visits", id="id", time="at", key=USER, schema=Visit)
SEARCHES = Stream("searches", id="id", time="at", key=USER, schema=Search)
MODELS: dict[str, tuple[ModelSpec, Optimizer]] = {
    "logistic regression": (LogisticRegression(), AutoAdagrad()),
    "averaged": (LogisticRegression(), Averaged()),
    "DeepFM": (DeepFM(4, (8,)), AutoAdagrad()),
}


class Habits(FeatureView):
    entity, source = USER, VISITS
    seen = Count(windows=["1h"])


class MoreHabits(FeatureView):
    entity, source = USER, VISITS
    spent = Sum("price", windows=["1h"])
    seen = Count(windows=["1h"])


class Searches(FeatureView):
    entity, source = USER, SEARCHES
    searched = Count(windows=["1h"])


def pipelines_of(name: str) -> tuple[Pipeline, Pipeline]:
    """One, and the same with an aggregate, a stream with its view, and two inputs more."""
    model, optimizer = MODELS[name]
    few = Pipeline(
        "habits",
        stream=VISITS,
        features=[Habits],
        context=["item"],
        label=Labelled(positive=col.bought == 1),
        model=model,
        optimizer=optimizer,
    )
    more = replace(
        few,
        streams=[VISITS, SEARCHES],
        features=[MoreHabits, Searches],
        context=["price", "shop", "item"],
    )
    return few, more


def add_events(log: MemoryLog, begin: int) -> None:
    """Users buy the even items; in shops of odd numbers they do not."""
    random = np.random.default_rng(begin)
    users, items, shops = (random.integers(0, most, EVENTS).tolist() for most in (8, 20, 4))
    events = [
        {"id": f"v{number}", "user": f"u{user}", "item": f"i{item}", "shop": f"s{shop}",
         "price": float(number % 7), "bought": int(item % 2 == 0 and shop % 2 == 0),
         "at": START_MS + number}
        for number, (user, item, shop) in enumerate(zip(users, items, shops, strict=True), begin)
    ]  # fmt: skip
    searches = [{name: event[name] for name in ("id", "user", "at")} for event in events[::3]]
    for topic, some in (("visits", events), ("searches", searches)):
        log.distribute(
            topic,
            [str(event["user"]).encode() for event in some],
            [msgspec.json.encode(event) for event in some],
            np.array([event["at"] for event in some], np.int64),
        )


async def scores(system: LocalSystem) -> list[float]:
    """Of two items in two shops, for one user and the next."""
    takes = system.pipeline.context
    values = [
        {"item": item, "shop": shop, "price": 3.0} for item in ("i4", "i5") for shop in ("s1", "s2")
    ]
    candidates: list[JsonValue] = [
        {name: value for name, value in one.items() if name in takes} for one in values
    ]
    answers = [await system.score({"user": u, "candidates": candidates}) for u in ("u1", "u2")]
    return [one for answer in answers for one in answer.scores if one is not None]


async def begun(world: World, pipeline: Pipeline) -> LocalSystem:
    system = LocalSystem(pipeline, Settings(), world, carried=True)
    await system.start()
    return system


def changed(status: Mapping[str, JsonValue]) -> Mapping[str, JsonValue]:
    found = status["changed_inputs"]
    assert isinstance(found, dict)
    return found


@pytest.mark.parametrize("crashes", [False, True], ids=["stopped", "crashed"])
@pytest.mark.parametrize("model", MODELS)
def test_it_goes_on_with_what_it_has_learned_of_the_inputs_that_stay(
    model: str, crashes: bool
) -> None:
    few, more = pipelines_of(model)

    async def end(system: LocalSystem) -> None:
        if crashes:
            await system.learner.save()
        else:
            await system.stop()

    async def play() -> None:
        # It stands: the loops of a system that has crashed never wake again.
        world = World(MemoryLog(partitions=2), ManualClock(START_MS + 10_000))
        add_events(world.log, 0)
        first = await begun(world, few)
        await first.drain()
        before, of_first = await scores(first), await first.status()
        assert of_first["examples"] == EVENTS
        await end(first)

        second = await begun(world, more)
        told = changed(await second.status())
        assert (told["gone"], told["other"]) == ([], [])
        assert told["new"] == ["spent_1h", "searched_1h", "price", "shop"]
        if not crashes:  # else the rows of the replica are those of the last snapshot
            small = 0.02 if model == "DeepFM" else 1e-5
            assert await scores(second) == pytest.approx(before, abs=small)
        add_events(world.log, EVENTS)
        await second.drain()
        status = await second.status()
        assert status["examples"] == status["judged"] == 2 * EVENTS, "each example once"
        assert status["applied"] == {
            str(partition): {topic: world.log.end(topic, partition) for topic in more.topics}
            for partition in (0, 1)
        }
        found = np.array(await scores(second)).reshape(2, 2, 2)
        assert found[:, 0, 1].min() > 0.6, "an even item in an even shop"
        assert found[:, 0, 0].max() < 0.4, "and in an odd one"
        assert found[:, 1].max() < 0.3, "an odd item"
        await end(second)

        third = await begun(world, few)
        assert changed(await third.status())["gone"] == told["new"]
        add_events(world.log, 2 * EVENTS)
        await third.drain()
        status = await third.status()
        assert status["examples"] == 3 * EVENTS
        assert status["applied"] == {
            str(partition): {"visits": world.log.end("visits", partition)} for partition in (0, 1)
        }
        assert len(await scores(third)) == 8
        await third.stop()

    asyncio.run(play())
