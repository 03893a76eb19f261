"""What a catalogue, features of items and of pairs add: pipelines on the same simulated traffic.

    python -m freshrank.examples.item_features

Every candidate is shown, so that the clicks do not depend on the ranking, and all pipelines learn
from the same impressions. The quality is progressive: each example is scored before it is learned.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, replace

import msgspec
import numpy as np

from freshrank.actors.protocols import JsonValue
from freshrank.deploy.config.settings import Settings
from freshrank.deploy.pipelines.pipeline import Pipeline
from freshrank.deploy.wiring.kernel_warmup import SetClock
from freshrank.deploy.wiring.local import LocalSystem, World
from freshrank.examples import affinity, catalogue, recommend
from freshrank.examples.shop.shoppers import Candidate, Shop, ShopEvent
from freshrank.feature_actors.connectors.in_memory.log import MemoryLog

# Replicas find the weights of sources at the pace of a real clock, and here a second takes none.
WITH_ITEMS = replace(catalogue.pipeline, candidates=())
WITH_PAIRS = replace(affinity.pipeline, candidates=())
WITHOUT_PAIRS = replace(WITH_PAIRS, features=[affinity.Habits, catalogue.Popularity], missing=())

# Milliseconds between two ticks of the simulation; events of browsing and visits at each.
TICK_MS, BROWSED, VISITS, CANDIDATES = 500, 50, 4, 10
BEGIN_MS = 1_700_000_000_000


@dataclass(frozen=True, slots=True)
class RecentQuality:
    """Of the predictions for the newest 20,000 examples, each before it was learned."""

    examples: int
    auc: float
    log_loss: float


async def quality(pipeline: Pipeline, seconds: int, seed: int) -> RecentQuality:
    """Run `pipeline` in this process on `seconds` of simulated traffic."""
    shop, clock = Shop(np.random.default_rng(seed), "run"), SetClock()
    clock.at_ms = BEGIN_MS
    world = World(MemoryLog(partitions=1), clock)
    system = LocalSystem(pipeline, Settings(), world)
    await system.start()
    if pipeline.tables:
        _fill_catalogue(world, shop)
    waiting: list[ShopEvent] = []
    for _ in range(seconds * 1000 // TICK_MS):
        shop.advance(TICK_MS / 1000)
        clock.at_ms += TICK_MS
        waiting += shop.browse(BROWSED, clock.at_ms)
        due = [event for event in waiting if event.ts <= clock.at_ms]
        waiting = [event for event in waiting if event.ts > clock.at_ms]
        _append(world, due, clock.at_ms)
        await system.drain()
        for _ in range(VISITS):
            user, shown = shop.visitor(), shop.candidates(CANDIDATES)
            await system.score(_request(pipeline, user, shown))
            waiting += shop.react(user, shown, clock.at_ms)
        await asyncio.sleep(0)  # impressions are logged after the answer
    status = await system.status()
    await system.stop()
    return RecentQuality(
        int(_number(status, "examples")),
        _number(status, "auc_recent"),
        _number(status, "log_loss_recent"),
    )


def _fill_catalogue(world: World, shop: Shop) -> None:
    rows = [msgspec.json.encode(product) for product in shop.products()]
    keys = [str(product.item_id).encode() for product in shop.products()]
    world.log.distribute("catalogue", keys, rows, np.full(len(keys), BEGIN_MS))


def _append(world: World, events: list[ShopEvent], at_ms: int) -> None:
    world.log.distribute(
        "behaviour",
        [event.user_id.encode() for event in events],
        [msgspec.json.encode(event) for event in events],
        np.full(len(events), at_ms),
    )


def _request(pipeline: Pipeline, user: str, shown: list[Candidate]) -> Mapping[str, JsonValue]:
    """A request that names the fields of a candidate that the pipeline asks for."""
    fields = pipeline.online_features.context
    candidates = [{name: getattr(one, name) for name in fields} for one in shown]
    return {"user": user, "candidates": candidates, "show": len(shown)}


def _number(status: Mapping[str, JsonValue], name: str) -> float:
    value = status[name]
    assert isinstance(value, int | float)
    return float(value)


def main(seconds: int = 1_200, seed: int = 1) -> None:
    """Print the quality of the demo's pipeline, and of the same with a catalogue and with pairs."""
    for name, pipeline in (
        ("features of users", recommend.pipeline),
        ("with catalogue and features of items", WITH_ITEMS),
        ("the same without the bag of the user's categories", WITHOUT_PAIRS),
        ("and with pairs of user and category in its place", WITH_PAIRS),
    ):
        found = asyncio.run(quality(pipeline, seconds, seed))
        print(
            f"{name}: AUC {found.auc:.3f}, log loss {found.log_loss:.4f} "
            f"({found.examples:,} examples)"
        )


if __name__ == "__main__":
    main()
