"""A listwise label in a whole system: from the lists that were served to their order."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import msgspec
import numpy as np
import pytest
from fake_clock import FakeClock
from small_catalogue import PIPELINE, START_MS, Click

from freshrank import Joined, Pipeline
from freshrank.actors.messages import Version
from freshrank.deploy.config.settings import Settings
from freshrank.deploy.wiring.local import LocalSystem, World
from freshrank.feature_actors.connectors.in_memory.log import MemoryLog

ITEMS = [f"i{number}" for number in range(10)]
UTILITIES = np.linspace(2.0, -2.0, len(ITEMS))
SIZE, LISTS, TOGETHER = 5, 300, 20
LABEL = PIPELINE.label
assert isinstance(LABEL, Joined)
LISTWISE = replace(PIPELINE, label=replace(LABEL, listwise=True))


class Shop:
    """Users are shown lists and choose; who chooses often is shown the worse items."""

    def __init__(self, pipeline: Pipeline) -> None:
        self.clock = FakeClock(START_MS)
        log = MemoryLog(2, others={"catalogue": 2, "clicks.by_item": 2})
        self.world = World(log, self.clock)
        self.system = LocalSystem(pipeline, Settings(), self.world)
        self._random = np.random.default_rng(5)
        self.orders = 0

    async def show(self, number: int) -> None:
        random, active = self._random, number % 2 == 0
        shown = random.choice(len(ITEMS) // 2, SIZE, replace=False) + active * (len(ITEMS) // 2)
        shown[0] = random.integers(len(ITEMS))
        shown = np.unique(shown)
        who = f"{'often' if active else 'rarely'}{number % 10}"
        candidates = [{"item": ITEMS[place]} for place in shown.tolist()]
        await self.system.score({"user": who, "candidates": candidates})
        if random.random() < (0.9 if active else 0.1):
            odds = np.exp(UTILITIES[shown])
            self._order(who, ITEMS[int(random.choice(shown, p=odds / odds.sum()))])

    def _order(self, who: str, what: str) -> None:
        self.orders += 1
        at_ms = self.clock.now_ms()
        event = msgspec.json.encode(Click(f"o{self.orders}", who, what, "order", at_ms))
        self.world.log.distribute("clicks", [who.encode()], [event], np.array([at_ms]))

    async def order_of_all(self) -> list[str]:
        """All items, the best one first, for somebody who is new."""
        candidates = [{"item": name} for name in ITEMS]
        answer = await self.system.score({"user": "new", "candidates": candidates})
        return [ITEMS[place] for place in np.argsort(-np.array(answer.scores))]


async def played() -> Shop:
    shop = Shop(LISTWISE)
    await shop.system.start()
    for number in range(LISTS):
        await shop.show(number)
        if number % TOGETHER == TOGETHER - 1:
            await shop.system.drain()
    return shop


def inversions(order: list[str]) -> int:
    """Pairs of items in the wrong order."""
    places = [ITEMS.index(name) for name in order]
    return sum(one > other for at, one in enumerate(places) for other in places[at:])


def test_the_order_of_lists_is_learned_and_told_by_the_rank_of_the_chosen() -> None:
    async def run() -> None:
        shop = await played()
        status = await shop.system.status()
        assert status["measure"] == "mean_reciprocal_rank"
        rank, random = status["mean_reciprocal_rank"], status["random_reciprocal_rank"]
        loss, of_random = status["plackett_luce_loss"], status["random_loss"]
        assert isinstance(rank, float) and isinstance(random, float)
        assert isinstance(loss, float) and isinstance(of_random, float)
        assert rank > random + 0.1 and loss < of_random - 0.1
        # A list without an event gives no examples.
        assert status["examples"] == status["judged"] == pytest.approx(shop.orders * 4.5, rel=0.1)
        assert Version.parse(str(status["version"])) > Version(1, 10)
        assert inversions(await shop.order_of_all()) <= 6, "of 45 pairs"
        await shop.system.stop()

    asyncio.run(run())
