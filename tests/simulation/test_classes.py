"""Events of several kinds: the model tells them apart, and answers with the chances of each."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace

import msgspec
import numpy as np
import pytest

from freshrank.actors.clock import SystemClock
from freshrank.actors.errors import ConfigError, DefinitionChanged
from freshrank.actors.messages import Floats
from freshrank.actors.protocols import JsonValue
from freshrank.deploy.config.settings import Settings
from freshrank.deploy.pipelines.pipeline import Pipeline
from freshrank.deploy.pipelines.pipeline_file import PipelineFile
from freshrank.deploy.wiring.local import LocalSystem, World
from freshrank.feature_actors.connectors.in_memory.log import MemoryLog
from freshrank.feature_actors.shard.status import totals
from freshrank.learner.models.softmax_regression import SoftmaxLoss, SoftmaxRegression
from freshrank.serve.explanation.explainer import Explainer

KINDS = ("reading", "shopping", "game")
PIPELINE = """\
import msgspec

from freshrank import (
    Count, DeepFM, Entity, FeatureView, Joined, Labelled, LinearRegression, LogisticRegression,
    Pipeline, SoftmaxRegression, Stream, col,
)


class Visit(msgspec.Struct):
    id: str
    user: str
    site: str
    kind: str
    at: int


user = Entity("user", key="user")
visits = Stream("visits", id="id", time="at", key=user, schema=Visit)


class Visits(FeatureView):
    entity, source = user, visits
    visits = Count(windows=["1h"])


pipeline = Pipeline(
    "kinds",
    stream=visits,
    features=[Visits],
    context=["site"],
    label=Labelled(target="kind", classes=["reading", "shopping", "game"]),
    model=SoftmaxRegression(),
)
"""
SITES = 12


def pipeline_of(text: str = PIPELINE) -> Pipeline:
    return PipelineFile("kinds.py", text).load()


def world() -> World:
    """Sites are of one kind each; every tenth visit is of a kind that is not asked for."""
    log, random = MemoryLog(partitions=2), np.random.default_rng(1)
    events = [
        {"id": f"v{number}", "user": f"u{number % 8}", "site": f"s{site}",
         "kind": "other" if number % 10 == 0 else KINDS[site % 3],
         "at": 1_700_000_000_000 + number}
        for number, site in enumerate(random.integers(0, SITES, 1_000).tolist())
    ]  # fmt: skip
    log.distribute(
        "visits",
        [str(event["user"]).encode() for event in events],
        [msgspec.json.encode(event) for event in events],
        np.array([event["at"] for event in events], np.int64),
    )
    return World(log, SystemClock())


CANDIDATES: list[JsonValue] = [{"site": f"s{number}"} for number in range(3)]


async def chances(system: LocalSystem) -> list[dict[str, float] | None]:
    answer = await system.score({"user": "u1", "candidates": CANDIDATES})
    assert answer.probabilities is not msgspec.UNSET
    largest = [max(one.values()) for one in answer.probabilities if one is not None]
    assert answer.scores == pytest.approx(largest, abs=1e-6)
    return answer.probabilities


def test_they_are_learned_reported_served_explained_and_kept() -> None:
    async def play() -> None:
        pipeline, made = pipeline_of(), world()
        first = LocalSystem(pipeline, Settings(), made)
        await first.start()
        await first.drain()
        status = await first.status()
        counted = [totals(shard.states) for shard in first.shards]
        assert sum(one["examples_of_no_class"] for one in counted) == 100
        assert (status["examples"], status["measure"]) == (900, "accuracy")
        accuracy, report = status["accuracy"], status["classes"]
        assert isinstance(accuracy, float) and accuracy > 0.75
        assert isinstance(report, list)
        named = [one["name"] for one in report if isinstance(one, dict)]
        supports = [one["support"] for one in report if isinstance(one, dict)]
        assert (named, sum(map(int, map(str, supports)))) == (list(KINDS), 900)
        found = await chances(first)
        for one, kind in zip(found, KINDS, strict=True):
            assert one is not None and max(one, key=one.__getitem__) == kind
            assert sum(one.values()) == pytest.approx(1.0, abs=1e-5)
        assert first.replica.describe().classes == list(KINDS)
        body = msgspec.json.encode({"user": "u1", "candidates": CANDIDATES})
        explained = await Explainer(first.replica).explain(body)
        assert [one.of_class for one in explained.candidates if one is not None] == list(KINDS)
        await first.stop()
        again = LocalSystem(pipeline, Settings(), made)
        await again.start()
        assert await chances(again) == found
        assert (await again.status())["classes"] == report
        await again.stop()
        other = pipeline_of(PIPELINE.replace('"game"]', '"play"]'))
        with pytest.raises(DefinitionChanged):
            await LocalSystem(other, Settings(), made).start()

    asyncio.run(play())


@dataclass(frozen=True)
class Careful(SoftmaxLoss):
    """Learns half as fast."""

    def residual(self, labels: Floats, predictions: Floats) -> Floats:
        return super().residual(labels, predictions) * np.float32(0.5)


def test_a_loss_of_ones_own_gets_the_classes_of_the_label() -> None:
    pipeline = replace(pipeline_of(), model=SoftmaxRegression(loss=Careful()))
    assert pipeline.bound_model.loss == Careful(KINDS)


def test_a_candidate_that_is_skipped_has_none() -> None:
    async def play() -> None:
        system = LocalSystem(pipeline_of(), Settings(), world())
        await system.start()
        await system.drain()
        candidates: list[JsonValue] = [{"site": 7}, {"site": "s1"}]
        answer = await system.score(
            {"user": "u1", "candidates": candidates, "on_bad_candidate": "skip"}
        )
        assert answer.probabilities is not msgspec.UNSET
        first, second = answer.probabilities
        assert first is None and answer.scores[0] is None
        assert second is not None and list(second) == list(KINDS)
        await system.stop()

    asyncio.run(play())


@pytest.mark.parametrize(
    ("was", "now", "place", "fix"),
    [
        ("SoftmaxRegression()", "LogisticRegression()", "model", "Take SoftmaxRegression()"),
        ("SoftmaxRegression()", "LinearRegression()", "model", "Take SoftmaxRegression()"),
        ("SoftmaxRegression()", "DeepFM()", "model", "Take SoftmaxRegression()"),
        ('target="kind", classes=["reading", "shopping", "game"]', 'positive=col.kind == "game"',
         "model", 'classes=["a", "b"]'),
        ('"game"]', '"game"], negatives_kept=0.1', "negatives_kept", "Leave it out"),
        (', classes=["reading", "shopping", "game"]', "", "Labelled.target", 'classes=["a", "b"]'),
        ('Labelled(target="kind", classes=["reading", "shopping", "game"])',
         'Joined(positive=col.kind == "game", on="site", within="1m")', "model", "two outcomes"),
        ('"game"]', '"reading"]', "Labelled.classes", "two or more different"),
        ('["reading", "shopping", "game"]', '["game"]', "Labelled.classes", "two or more"),
        ('"game"]', "3]", "Labelled.classes[2]", "List values of the field"),
        ("kind: str", 'kind: Literal["reading", "shoping", "game"]', "Labelled.classes[1]",
         "Did you mean 'shoping'?"),
        ("kind: str", "kind: float", "Labelled.target", "Name a field of str or int"),
    ],
)  # fmt: skip
def test_what_does_not_go_together_is_told_with_the_fix(
    was: str, now: str, place: str, fix: str
) -> None:
    text = f"from typing import Literal\n{PIPELINE}"
    assert was in text
    with pytest.raises(ConfigError) as caught:
        pipeline_of(text.replace(was, now))
    assert place in caught.value.place and fix in caught.value.fix
