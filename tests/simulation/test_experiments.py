"""Experiments in a whole system: users in arms, and one model that learns from what all show."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from functools import partial
from typing import Any

import msgspec
import numpy as np
from fake_clock import FakeClock
from small_catalogue import PIPELINE, START_MS, Click

from freshrank import Arm, EpsilonGreedy, Experiment, Newest
from freshrank.actors.features.retrieval import Retriever
from freshrank.actors.impressions import decode_impression
from freshrank.deploy.config.settings import Settings
from freshrank.deploy.experiments.reading import ReportRequest, read_report
from freshrank.deploy.pipelines.pipeline import Pipeline
from freshrank.deploy.served.topics import ServedLog
from freshrank.deploy.wiring.local import LocalSystem, World
from freshrank.feature_actors.connectors.in_memory.log import MemoryLog, MemorySource
from freshrank.feature_actors.retrieval.follower import CatalogueFollower
from freshrank.serve.explanation.explainer import Explainer
from freshrank.serve.recommendation.recommender import Recommender
from freshrank.serve.recommendation.selection import SelectionTypes

EXPERIMENT = Experiment(
    "sources",
    [
        Arm("control", 0.5),
        Arm("newest", 0.5, candidates=[Newest()], explore=EpsilonGreedy(0.5)),
    ],
)
TRIED: Pipeline = replace(PIPELINE, experiments=[EXPERIMENT])
USERS = [f"u{number}" for number in range(40)]


class Shop:
    def __init__(self, pipeline: Pipeline) -> None:
        self.clock = FakeClock(START_MS)
        self.log = MemoryLog(2, others={"catalogue": 3, "clicks.by_item": 3})
        self.system = LocalSystem(pipeline, Settings(), World(self.log, self.clock))
        self._events = 0

    async def start(self) -> None:
        await self.system.start()
        names = [f"i{number}" for number in range(12)]
        rows = [msgspec.json.encode({"item": name, "brand": "a", "price": 1.0}) for name in names]
        stamps = np.full(len(names), self.clock.now_ms())
        self.log.distribute("catalogue", [name.encode() for name in names], rows, stamps)
        service = self.system.replica
        follower = service.retriever
        assert isinstance(follower, CatalogueFollower)
        await self.system.drain()
        for _ in range(8):
            self.clock.advance(0.3)
            await follower.step()
        typed: Retriever = follower
        types = SelectionTypes(service.pipeline, typed)
        self._recommender = Recommender(service, typed, types, Explainer(service))

    async def recommend(self, who: str) -> Any:
        body = msgspec.json.encode({"user": who, "k": 3})
        answer = await self._recommender.recommend(body)
        await asyncio.sleep(0)  # impressions are logged after the answer
        return answer

    def order(self, who: str, what: str) -> None:
        self._events += 1
        click = Click(str(self._events), who, what, "order", self.clock.now_ms())
        stamps = np.array([self.clock.now_ms()])
        self.log.distribute("clicks", [who.encode()], [msgspec.json.encode(click)], stamps)


def test_one_model_learns_from_what_both_arms_show() -> None:
    async def run() -> None:
        shop = Shop(TRIED)
        await shop.start()
        by_arm: dict[str, list[Any]] = {"control": [], "newest": []}
        for who in USERS:
            answer = await shop.recommend(who)
            of_arm = by_arm[answer.arms["sources"]]
            if not of_arm:
                shop.order(who, answer.items[1].id)
            of_arm.append(answer)
        assert min(map(len, by_arm.values())) > 10
        for arm, sources in (("control", 5), ("newest", 1)):
            assert {len(answer.found) for answer in by_arm[arm]} == {sources}
        shop.clock.advance(300)
        await shop.system.drain()
        status = await shop.system.status()
        assert status["examples"] == 3 * len(USERS) + 2, "all that were shown, two corrections"
        (shard,) = shop.system.shards
        assert sum(state.counters.positives for state in shard.states.values()) == 2
        log = ServedLog(TRIED, Settings(), 2, "", partial(MemorySource, shop.log))
        found = await read_report(ReportRequest(log, 0.01, 10), lambda *_: None)
        arms = {arm.arm: arm for arm in found.experiments[0].arms}
        for name, answers in by_arm.items():
            reported = arms[name]
            assert (reported.users, reported.lists) == (len(answers), len(answers))
            assert (reported.items, reported.clicks) == (3 * len(answers), 1), "as it was learned"
        assert arms["newest"].off_policy is not None
        await shop.system.stop()

    asyncio.run(run())


def test_the_log_says_of_each_request_its_arm_and_how_its_list_was_drawn() -> None:
    async def run() -> None:
        shop = Shop(TRIED)
        await shop.start()
        answers = [await shop.recommend(who) for who in USERS]
        logged = {
            one.request_id: one
            for partition in range(2)
            for value in shop.log.read("shop.impressions", partition, 0, 99).values
            if value is not None
            for one in [decode_impression(value)]
        }
        for answer in answers:
            impression = logged.pop(answer.request_id)
            assert impression.arms == answer.arms
            assert (impression.explored is not None) == (answer.arms["sources"] == "newest")
        assert not logged
        await shop.system.stop()

    asyncio.run(run())
