"""A pipeline's file declares a model, a loss and an optimiser that Freshrank does not know."""

from __future__ import annotations

import asyncio

import msgspec
import numpy as np
import pytest

from freshrank.actors.clock import SystemClock
from freshrank.actors.errors import ConfigError, DefinitionChanged
from freshrank.actors.protocols import JsonValue
from freshrank.deploy.config.settings import Settings
from freshrank.deploy.pipelines.pipeline import Pipeline
from freshrank.deploy.pipelines.pipeline_file import PipelineFile
from freshrank.deploy.wiring.local import LocalSystem, World
from freshrank.feature_actors.connectors.in_memory.log import MemoryLog

OWN = '''\
from dataclasses import dataclass

import msgspec
import numpy as np

from freshrank import Count, Entity, FeatureView, Labelled, Pipeline, Stream, col
from freshrank.learner.embeddings.row_init import RowInit
from freshrank.learner.models.base import fingerprint_of
from freshrank.learner.models.losses import LogitLink, Loss


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


@dataclass(frozen=True)
class FocalLoss(Loss):
    """Lin et al., "Focal loss for dense object detection", ICCV 2017."""

    gamma: float = 2.0

    @property
    def link(self):
        return LogitLink()

    def value(self, labels, predictions):
        p = np.clip(np.where(labels > 0.5, predictions, 1.0 - predictions), 1e-7, 1.0)
        return -((1.0 - p) ** self.gamma) * np.log(p.astype(np.float64))

    def residual(self, labels, predictions):
        p = np.clip(np.where(labels > 0.5, predictions, 1.0 - predictions), 1e-7, 1.0)
        slope = (1.0 - p) ** self.gamma * (self.gamma * p * np.log(p) + p - 1.0)
        return np.where(labels > 0.5, slope, -slope).astype(np.float32)


@dataclass(frozen=True)
class ItemBiases:
    """One weight for each id, and nothing else."""

    loss: Loss = FocalLoss()

    def bind(self, layout):
        return BoundBiases(self, layout)


@dataclass(frozen=True)
class BoundBiases:
    spec: ItemBiases
    layout: object
    dense_size = 1
    rows = RowInit(width=1, scale=0.0, seed=0)

    @property
    def loss(self):
        return self.spec.loss

    @property
    def fingerprint(self):
        return fingerprint_of(self.spec, self.layout, self.loss)

    def initial(self):
        return np.zeros(1, np.float32)

    def outputs(self, dense, x, pooled):
        return dense[0] + pooled[:, :, 0].sum(1)

    def backward(self, dense, x, pooled, upstream):
        each = np.broadcast_to(upstream[:, None, None], pooled.shape)
        return upstream.sum(keepdims=True), np.ascontiguousarray(each)


@dataclass(frozen=True)
class Momentum:
    rate: float = 0.1

    def state_width(self, width):
        return width

    def update(self, rows, positions, gradient, dense=False):
        width = gradient.sums.shape[1]
        rows[positions, width:] = 0.5 * rows[positions, width:] + gradient.sums
        rows[positions, :width] -= self.rate * rows[positions, width:]


pipeline = Pipeline(
    "own",
    stream=visits,
    features=[Visits],
    context=["item"],
    label=Labelled(positive=col.bought == 1),
    model=ItemBiases(),
    optimizer=Momentum(),
)
'''
SETTINGS = Settings()


def pipeline_of(text: str) -> Pipeline:
    return PipelineFile("own.py", text).load()


def world() -> World:
    """Eight users visit twenty items; the even ones are bought, the odd ones are not."""
    log, random = MemoryLog(partitions=2), np.random.default_rng(1)
    users, items = random.integers(0, 8, 1_000), random.integers(0, 20, 1_000)
    events = [
        {"id": f"v{number}", "user": f"u{who}", "item": f"i{item}", "bought": int(item % 2 == 0),
         "at": 1_700_000_000_000 + number}
        for number, (who, item) in enumerate(zip(users.tolist(), items.tolist(), strict=True))
    ]  # fmt: skip
    log.distribute(
        "visits",
        [str(event["user"]).encode() for event in events],
        [msgspec.json.encode(event) for event in events],
        np.array([event["at"] for event in events], np.int64),
    )
    return World(log, SystemClock())


async def scores(system: LocalSystem) -> list[float]:
    """Of an even item and of an odd one."""
    candidates: list[JsonValue] = [{"item": "i4"}, {"item": "i5"}]
    answer = await system.score({"user": "u1", "candidates": candidates})
    return [one for one in answer.scores if one is not None]


def test_it_learns_scores_and_is_resumed_like_any_other() -> None:
    async def play() -> None:
        pipeline, made = pipeline_of(OWN), world()
        first = LocalSystem(pipeline, SETTINGS, made)
        await first.start()
        await first.drain()
        status = await first.status()
        assert status["examples"] == 1_000
        assert status["objective"] == "focal_loss"
        assert isinstance(status["focal_loss"], float) and status["focal_loss"] < 0.15
        auc = status["auc"]
        assert isinstance(auc, float) and auc > 0.9
        bought, not_bought = await scores(first)
        assert bought > 0.7 and not_bought < 0.3
        await first.stop()
        again = LocalSystem(pipeline, SETTINGS, made)
        await again.start()
        assert await scores(again) == [bought, not_bought]
        await again.stop()
        other = pipeline_of(OWN.replace("gamma: float = 2.0", "gamma: float = 3.0"))
        with pytest.raises(DefinitionChanged):
            await LocalSystem(other, SETTINGS, made).start()

    asyncio.run(play())


@pytest.mark.parametrize(
    ("was", "now", "place", "problem"),
    [
        ("@dataclass(frozen=True)\nclass ItemBiases:", "class ItemBiases:", "model", "address"),
        ("@dataclass(frozen=True)\nclass Momentum:", "class Momentum:", "optimizer", "address"),
        ("    def bind(", "    def tie(", "model", "is no ModelSpec"),
        ("    def outputs(", "    def logits(", "model", "is no Model"),
        ("    def state_width(", "    def state(", "optimizer", "is no Optimizer"),
    ],
)
def test_what_is_missing_is_told_when_the_file_is_read(
    was: str, now: str, place: str, problem: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        pipeline_of(OWN.replace(was, now))
    assert f"Pipeline('own').{place}" in caught.value.place
    assert problem in caught.value.problem
