"""A label that is known an hour after its event: learned then, with features of other entities."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace

import msgspec
import numpy as np
import pytest
from fake_clock import FakeClock

from freshrank import (
    Count,
    Entity,
    FeatureView,
    Labelled,
    LastValue,
    LogisticRegression,
    Pipeline,
    SmoothedRate,
    Stream,
    TimeSince,
    col,
)
from freshrank.actors.errors import ConfigError
from freshrank.actors.messages import Examples, Floats
from freshrank.deploy.config.settings import Settings
from freshrank.deploy.history.records import History
from freshrank.deploy.wiring.local import LocalSystem, World
from freshrank.deploy.wiring.replay import replay
from freshrank.feature_actors.connectors.in_memory.log import MemoryLog
from freshrank.learner.gradients.batch import BatchDifferentiator

START_MS, HOUR_MS, STEP_MS = 1_700_000_000_000, 3_600_000, 10_000
SHOPS, BAD = 8, "s3"


class Payment(msgspec.Struct):
    id: str
    card: str
    shop: str
    fraud: int
    at: int


card, shop = Entity("card", key="card"), Entity("shop", key="shop")
payments = Stream("payments", id="id", time="at", key=card, schema=Payment)


class Paying(FeatureView):
    entity, source = card, payments
    paid = Count(windows=["1h"])


class Taking(FeatureView):
    entity, source = shop, payments
    taken = Count(windows=["1h"])
    frauds = SmoothedRate(
        of=col.fraud == 1, among=col.fraud >= 0, expected=0.1, prior=4, windows=["1h"], delay="1h"
    )


LATER = Labelled(positive=col.fraud == 1, known_after="1h")
PIPELINE = Pipeline(
    "payments",
    stream=payments,
    features=[Paying, Taking],
    context=["shop"],
    label=LATER,
    model=LogisticRegression(),
)


def made(count: int) -> list[Payment]:
    """A payment each ten seconds; one shop's are frauds, nine in ten."""
    random = np.random.default_rng(3)
    shops = random.integers(0, SHOPS, count).tolist()
    caught = (random.random(count) < 0.9).tolist()
    return [
        Payment(
            f"p{number}",
            f"c{number % 17}",
            f"s{at}",
            int(f"s{at}" == BAD and caught[number]),
            START_MS + number * STEP_MS,
        )
        for number, at in enumerate(shops)
    ]


ALL = made(1_400)


def history_of(payments: list[Payment]) -> History:
    return History(
        [one.card.encode() for one in payments],
        [msgspec.json.encode(one) for one in payments],
        np.array([one.at for one in payments], np.int64),
    )


def feed(world: World, payments: list[Payment]) -> None:
    history = history_of(payments)
    world.log.distribute("payments", history.keys, history.values, history.times_ms)


def dense(pipeline: Pipeline, payments: list[Payment]) -> tuple[list[Floats], list[float]]:
    """The dense inputs and the labels of what is learned of a replay, in its order."""
    seen, labels = list[Floats](), list[float]()
    original = BatchDifferentiator.gradient

    def gradient(self: BatchDifferentiator, examples: Examples) -> object:
        seen.extend(examples.inputs.dense)
        labels.extend(examples.labels.tolist())
        return original(self, examples)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(BatchDifferentiator, "gradient", gradient)
        asyncio.run(replay(pipeline, history_of(payments)))
    return seen, labels


def test_an_example_has_the_rows_of_both_entities_from_just_before_its_event() -> None:
    seen, labels = dense(PIPELINE, ALL)
    names = list(PIPELINE.encoder.layout.dense)
    known = [one for one in ALL if one.at + HOUR_MS <= ALL[-1].at]
    assert labels == [float(one.fraud) for one in known]
    assert len(known) == len(ALL) - HOUR_MS // STEP_MS
    hop_ms = HOUR_MS // 12
    for number in (0, 5, 500, 700, len(known) - 1):
        at, before = known[number].at, ALL[:number]
        here = [one for one in before if one.shop == known[number].shop]
        begin = (at - HOUR_MS) // hop_ms * hop_ms
        taken = sum(one.at >= begin for one in here)
        end, begin = (at - HOUR_MS) // hop_ms * hop_ms, (at - 2 * HOUR_MS) // hop_ms * hop_ms
        told = [one.fraud for one in here if begin <= one.at < end]
        rate = (sum(told) + 0.4) / (len(told) + 4)
        row = dict(zip(names, seen[number].tolist(), strict=True))
        assert row["taken_1h"] == pytest.approx(np.log1p(taken), rel=1e-5)
        assert row["frauds_1h"] == pytest.approx(np.log1p(rate), rel=1e-5)


def test_what_waits_is_shown_kept_over_a_restart_and_learned_once() -> None:
    async def play() -> None:
        world = World(MemoryLog(partitions=1), FakeClock(ALL[-1].at))
        first = LocalSystem(PIPELINE, Settings(), world)
        await first.start()
        feed(world, ALL[:900])
        await first.drain()
        status = await first.shards[0].status()
        assert (status["examples"], status["pending"]) == (540, 360)
        assert (await first.status())["examples"] == 540
        answer = await first.score({"card": "c1", "candidates": [{"shop": BAD}, {"shop": "s1"}]})
        bad, good = answer.scores
        assert bad is not None and good is not None and bad > good + 0.3
        await first.stop()
        again = LocalSystem(PIPELINE, Settings(), world)
        await again.start()
        feed(world, ALL[900:])
        await again.drain()
        status = await again.shards[0].status()
        assert (status["examples"], status["pending"]) == (1_040, 360)
        assert (await again.status())["examples"] == 1_040
        await again.stop()

    asyncio.run(play())


def test_quality_is_that_of_the_predictions_when_the_events_came() -> None:
    """Of the first hour nothing is known until its end: all is predicted by the first weights."""
    always = [msgspec.structs.replace(one, fraud=1) for one in ALL[:730]]
    late = asyncio.run(replay(PIPELINE, history_of(always)))
    assert (late["examples"], late["pending"]) == (370, 360)
    blind = 360 / 370 * np.log(2)
    assert late["log_loss"] == pytest.approx(blind, rel=0.05)
    at_once = replace(PIPELINE, features=[Paying], label=Labelled(positive=col.fraud == 1))
    found = asyncio.run(replay(at_once, history_of(always[:370])))["log_loss"]
    assert isinstance(found, float) and found < 0.5 * blind


class TooSoon(FeatureView):
    entity, source = shop, payments
    frauds = SmoothedRate(
        of=col.fraud == 1, among=col.fraud >= 0, expected=0.1, windows=["1h"], delay="30m"
    )


class AtOnce(FeatureView):
    entity, source = card, payments
    told = LastValue("fraud")


class OfPairs(FeatureView):
    entity, source = Entity("card_shop", key=["card", "shop"]), payments
    together = TimeSince()


@pytest.mark.parametrize(
    ("change", "place", "fix"),
    [
        (lambda: replace(PIPELINE, features=[Paying, TooSoon]), "TooSoon.frauds", 'delay="1h"'),
        (lambda: replace(PIPELINE, features=[Paying, AtOnce]), "AtOnce.told", "SmoothedRate"),
        (
            lambda: replace(PIPELINE, features=[Paying, OfPairs], context=[]),
            "OfPairs.entity",
            'Add "shop"',
        ),
        (
            lambda: replace(PIPELINE, context=[]),
            "Taking.entity",
            'Add "shop" to context',
        ),
        (
            lambda: Labelled(positive=col.fraud == 1, known_after="soon"),
            "Labelled.known_after",
            "7d",
        ),
    ],
)
def test_what_cannot_be_is_told_when_it_is_declared(
    change: Callable[[], object], place: str, fix: str
) -> None:
    with pytest.raises(ConfigError) as error:
        change()
    assert error.value.place == place
    assert fix in str(error.value)


def test_features_may_read_a_label_that_is_known_at_once() -> None:
    known = replace(PIPELINE, features=[Paying, AtOnce, TooSoon], label=Labelled(col.fraud == 1))
    assert "told" in known.encoder.layout.dense
