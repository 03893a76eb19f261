"""A pipeline that serves averaged weights: what is learned, judged, answered and explained."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import NamedTuple

import msgspec
import numpy as np
import pytest
from fake_clock import FakeClock

from freshrank import (
    AutoAdagrad,
    Averaged,
    Count,
    DeepFM,
    Entity,
    FeatureView,
    Labelled,
    Pipeline,
    Stream,
    col,
)
from freshrank.actors.protocols import JsonValue
from freshrank.deploy.config.settings import Settings
from freshrank.deploy.wiring.local import LocalSystem, World
from freshrank.feature_actors.connectors.in_memory.log import MemoryLog
from freshrank.serve.explanation.explainer import Explainer

START_MS, VISITS = 1_700_000_000_000, 600


class Visit(msgspec.Struct):
    id: str
    user: str
    item: str
    bought: int
    at: int


user = Entity("user", key="user")
visits = Stream("visits", id="id", time="at", key=user, schema=Visit)


class Visits(FeatureView):
    entity, source = user, visits
    visits = Count(windows=["1h"])


PLAIN = Pipeline(
    "visits",
    stream=visits,
    features=[Visits],
    context=["item"],
    label=Labelled(positive=col.bought == 1),
    model=DeepFM(embedding_dim=2, hidden=(4,)),
    optimizer=AutoAdagrad(),
)
AVERAGED = replace(PLAIN, optimizer=Averaged(AutoAdagrad(), examples=100))
ITEMS: list[JsonValue] = [{"item": f"i{number}"} for number in range(8)]
ASKED: dict[str, JsonValue] = {"user": "u1", "candidates": ITEMS}


def events() -> list[Visit]:
    """Half of the items are bought nearly always."""
    random = np.random.default_rng(4)
    items = random.integers(0, 8, VISITS).tolist()
    chance = random.random(VISITS).tolist()
    return [
        Visit(str(n), f"u{n % 20}", f"i{item}", int((item % 2 == 0) == (odds < 0.9)), START_MS + n)
        for n, (item, odds) in enumerate(zip(items, chance, strict=True))
    ]


class Lived(NamedTuple):
    """What came of it."""

    scores: list[float]
    explained: list[float]
    log_loss: float
    learned: str
    """The checksum of what the learner goes on with."""


async def live(pipeline: Pipeline, parts: int = 1) -> Lived:
    """All events, by a system that crashes and starts again after each part."""
    log = MemoryLog(2)
    world = World(log, FakeClock(START_MS + 10_000))
    seen = events()
    for number in range(parts):
        some = seen[number * VISITS // parts : (number + 1) * VISITS // parts]
        log.distribute(
            "visits",
            [one.user.encode() for one in some],
            [msgspec.json.encode(one) for one in some],
            np.array([one.at for one in some]),
        )
    systems = []
    for number in range(parts):
        systems.append(LocalSystem(pipeline, Settings(), world, batch_events=16))
        await systems[-1].start()
        if number < parts - 1:
            for _ in range(8):
                assert await systems[-1].step()
            await systems[-1].learner.save()
            assert await systems[-1].step()  # which is not in the checkpoint
    system = systems[-1]
    await system.drain()
    answer = await system.score(ASKED)
    told = await Explainer(system.replica).explain(
        msgspec.json.encode({**ASKED, "min_version": system.newest})
    )
    newest = (await system.learner.newer_than(None, 0.0))[-1]
    await system.replica.stop()
    loss = (await system.status())["log_loss"]
    assert isinstance(loss, float) and newest.checksum is not None
    explained = [one.score for one in told.candidates if one is not None]
    scores = [one for one in answer.scores if one is not None]
    return Lived(scores, explained, loss, newest.checksum)


def test_answers_are_of_averages_and_learning_is_as_before() -> None:
    plain, averaged = asyncio.run(live(PLAIN)), asyncio.run(live(AVERAGED))
    assert averaged.learned == plain.learned
    assert np.abs(np.subtract(averaged.scores, plain.scores)).max() > 0.01
    assert averaged.explained == pytest.approx(averaged.scores, abs=1e-6)
    assert averaged.log_loss != plain.log_loss, "it is judged by what is served"
    bought, others = averaged.scores[::2], averaged.scores[1::2]
    assert min(bought) > 0.5 > max(others)


def test_a_learner_that_crashed_serves_the_same_to_the_last_bit() -> None:
    once, again = asyncio.run(live(AVERAGED)), asyncio.run(live(AVERAGED, parts=3))
    assert again == once
