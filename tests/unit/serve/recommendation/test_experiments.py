"""Requests that the arms of experiments answer: what differs, what is said, what is logged."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import httpx
import numpy as np
import pytest
from fake_retriever import FakeRetriever, item
from http_calls import candidates, get, post, talk
from serving import FakeScorer, ReplicaUnderTest

from freshrank.actors.clock import SystemClock
from freshrank.actors.impressions import served_draws
from freshrank.actors.messages import Floats, Inputs
from freshrank.actors.parameters.uncertainty import WeightSampling
from freshrank.serve.experiments.definitions import Arm, Experiment
from freshrank.serve.experiments.exploration import EpsilonGreedy, Thompson
from freshrank.serve.scoring.served_model import ServedModel


class Source:
    name = "popular"


EVERYONE = Experiment("all", [Arm("fresh", 1.0, explore=EpsilonGreedy(0.5))])
HALVES = Experiment("sources", [Arm("popular", 0.5, candidates=[Source()]), Arm("both", 0.5)])
# By the hash of experiment and user.
IN_POPULAR, IN_BOTH = "u2", "u1"


def replica(experiments: Sequence[Experiment]) -> ReplicaUnderTest:
    items = {str(key): item("ab"[key % 2], float(key)) for key in range(3, 11)}
    return ReplicaUnderTest(retriever=FakeRetriever(items), experiments=experiments)


def recommend(made: ReplicaUnderTest, **changes: Any) -> dict[str, Any]:
    body = {"user": "u1", "exclude_seen": False} | changes
    answer = post(made, "/v1/recommend", json=body)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def ids(answer: dict[str, Any]) -> list[int]:
    return [one["id"] for one in answer["items"]]


def test_without_experiments_nothing_is_said_of_arms() -> None:
    made = replica([])
    assert "arms" not in recommend(made)
    (logged,) = made.impressions()
    assert (logged.arms, logged.explored) == ({}, None)


@pytest.mark.parametrize(
    ("user", "arm", "sources"), [(IN_POPULAR, "popular", ("popular",)), (IN_BOTH, "both", ())]
)
def test_an_arm_asks_its_sources_and_is_named_in_answer_and_impression(
    user: str, arm: str, sources: tuple[str, ...]
) -> None:
    made = replica([HALVES])
    answer = recommend(made, user=user)
    assert answer["arms"] == {"sources": arm}
    assert isinstance(made.service.retriever, FakeRetriever)
    (query,) = made.service.retriever.queries
    assert query.sources == sources
    (logged,) = made.impressions()
    assert (logged.arms, logged.explored) == ({"sources": arm}, None)


def test_a_request_that_names_its_sources_is_in_no_experiment_on_sources() -> None:
    made = replica([HALVES, EVERYONE])
    answer = recommend(made, user=IN_POPULAR, sources=["co_visited"])
    assert answer["arms"] == {"all": "fresh"}
    assert isinstance(made.service.retriever, FakeRetriever)
    assert made.service.retriever.queries[0].sources == ("co_visited",)


def test_a_list_that_explores_is_logged_with_its_propensities() -> None:
    made = replica([EVERYONE])
    answers = [recommend(made, k=4, show=3) for _ in range(30)]
    assert len({tuple(ids(answer)) for answer in answers}) > 5
    for answer, logged in zip(answers, made.impressions(), strict=True):
        assert logged.request_id == answer["request_id"]
        shown = np.frombuffer(logged.join_keys, np.int64).tolist()
        assert shown == ids(answer)[:3]
        draws = served_draws(logged)
        assert draws is not None
        left = list(range(3, 11))
        for place, key in enumerate(shown):
            # All are worth the same here, so the first of those left is the best.
            assert draws.greedy[place] == (key == left[0])
            wanted = 0.5 / len(left) + 0.5 * (key == left[0])
            assert draws.propensities[place] == pytest.approx(wanted)
            assert draws.greedy_scores[place] == pytest.approx(0.1)
            left.remove(key)


def test_a_retry_of_a_request_gets_the_same_list_from_another_replica() -> None:
    async def ask(client: httpx.AsyncClient) -> dict[str, Any]:
        answer = await client.post(
            "/v1/recommend",
            json={"user": "u1", "k": 6, "exclude_seen": False},
            headers={"idempotency-key": "once"},
        )
        found: dict[str, Any] = answer.json()
        return found

    first, second = talk(replica([EVERYONE]), ask), talk(replica([EVERYONE]), ask)
    assert first["request_id"] == second["request_id"]
    assert ids(first) == ids(second)


def test_limits_and_pages_hold_where_lists_explore() -> None:
    made = replica([EVERYONE])
    for _ in range(20):
        answer = recommend(made, k=3, pages=3, diversify={"most_per": {"brand": 2}})
        brands = [one["fields"]["brand"] for one in answer["items"]]
        assert max(brands.count(brand) for brand in "ab") <= 2
        following = post(made, "/v1/recommend/next", json={"next": answer["next"]}).json()
        assert following["arms"] == {"all": "fresh"}
        assert len(ids(following)) == 3
        assert not set(ids(following)) & set(ids(answer))
    assert [one.explored is not None for one in made.impressions()] == [True, False] * 20


DRAWN = Experiment("all", [Arm("thompson", 1.0, explore=Thompson(samples=50))])


class Drawn:
    """Scores of eight items by fifty weights: each time another one is the best."""

    def __init__(self) -> None:
        self.seeds = list[int]()

    def __call__(self, inputs: Inputs, sampling: WeightSampling, seed: int) -> Floats:
        assert sampling == WeightSampling(50, prior=1.0, scale=1.0)
        self.seeds.append(seed)
        found = np.full((51, len(inputs)), 0.25, np.float32)
        found[0] = FakeScorer().score(inputs)
        found[np.arange(1, 51), np.arange(50) % len(inputs)] = 0.75
        return found


def drawing_replica() -> tuple[ReplicaUnderTest, Drawn]:
    made, drawn = replica([DRAWN]), Drawn()
    made.service.model = ServedModel(
        FakeScorer(), made.model, SystemClock(), 0, pinned=None, sample=drawn
    )
    return made, drawn


@pytest.mark.parametrize(
    "rules", [{}, {"diversify": {"mmr": {"lambda": 0.9, "fields": ["brand"]}}}]
)
@pytest.mark.parametrize("boosts", [[], [{"filters": {"brand": "a"}, "factor": 1.0}]])
def test_a_list_is_drawn_by_weights_that_are_drawn(rules: Any, boosts: Any) -> None:
    made, drawn = drawing_replica()
    answers = [recommend(made, k=2, boosts=boosts, **rules) for _ in range(120)]
    assert len({ids(answer)[0] for answer in answers}) == 8
    assert len(set(drawn.seeds)) == 120, "other weights for each request"
    for answer, logged in zip(answers, made.impressions(), strict=True):
        assert logged.arms == {"all": "thompson"}
        assert [one["score"] for one in answer["items"]] == [0.1, 0.1], "of the weights that serve"
        draws = served_draws(logged)
        assert draws is not None
        first = ids(answer)[0] - 3
        # Of fifty weights the first two of eight items have seven; the first is the best one now.
        assert draws.propensities[0] * 51 == pytest.approx(6 + (first < 2) + (first == 0))
        assert draws.greedy_scores.tolist() == pytest.approx([0.1, 0.1])


def test_weights_are_drawn_once_for_a_list_and_not_for_those_that_follow() -> None:
    made, drawn = drawing_replica()
    answer = recommend(made, k=2, pages=2)
    post(made, "/v1/recommend/next", json={"next": answer["next"]}).json()
    scored = score(made, show=2)
    assert len(drawn.seeds) == 2
    assert scored["arms"] == {"all": "thompson"}
    assert [one.explored is not None for one in made.impressions()] == [True, False, True]


def test_where_nothing_is_found_the_arm_is_named_too() -> None:
    made = replica([HALVES])
    answer = recommend(made, filters={"brand": "c"})
    assert (answer["items"], answer["arms"]) == ([], {"sources": "both"})
    assert made.impressions() == []


def score(made: ReplicaUnderTest, **changes: Any) -> dict[str, Any]:
    body = {"user": "u1", "candidates": candidates(*range(10, 18))} | changes
    found: dict[str, Any] = post(made, "/v1/score", json=body).json()
    return found


def test_the_shown_part_of_a_scored_ranking_explores() -> None:
    made = replica([EVERYONE, HALVES])
    made.store.kept[b"row:u1"] = b"12"
    answers = [score(made, show=2) for _ in range(30)]
    assert len({tuple(answer["ranking"][:2]) for answer in answers}) > 3
    for answer, logged in zip(answers, made.impressions(), strict=True):
        ranking = answer["ranking"]
        assert sorted(ranking) == list(range(8))
        rest = [answer["scores"][place] for place in ranking[2:]]
        assert rest == sorted(rest, reverse=True)
        # Nothing is retrieved, so that no arm of sources has a part in it.
        assert answer["arms"] == logged.arms == {"all": "fresh"}
        assert np.frombuffer(logged.join_keys, np.int64).tolist() == [
            10 + place for place in ranking[:2]
        ]
        draws = served_draws(logged)
        assert draws is not None
        assert draws.greedy.tolist()[0] == (ranking[0] == 2)
        assert draws.greedy_scores[0] == pytest.approx(0.9)


def test_nothing_explores_where_nothing_is_shown() -> None:
    made = replica([EVERYONE])
    assert score(made, show=0)["ranking"] == list(range(8))
    assert made.impressions() == []


def test_arms_and_draws_are_counted() -> None:
    made = replica([HALVES, EVERYONE])

    async def story(client: httpx.AsyncClient) -> tuple[Any, str]:
        for user in (IN_POPULAR, IN_BOTH, IN_BOTH):
            await client.post("/v1/recommend", json={"user": user, "k": 4})
        await asyncio.sleep(0)  # what is shown is counted after the answer
        status = (await client.get("/v1/status")).json()["replica"]["experiments"]
        return status, (await client.get("/metrics")).text

    status, text = talk(made, story)
    counted = {(one["experiment"], one["arm"]): one["requests"] for one in status}
    assert counted == {
        ("sources", "popular"): 1, ("sources", "both"): 2, ("all", "fresh"): 3,
    }  # fmt: skip
    shares = [(one["share"], one["pinned"]) for one in status]
    assert shares == [(0.5, None), (0.5, None), (1.0, None)]
    assert 'freshrank_experiment_requests_total{arm="both",experiment="sources"} 2.0' in text
    drawn = [
        float(line.split()[1])
        for line in text.splitlines()
        if line.startswith("freshrank_drawn_items_total{")
    ]
    assert sum(drawn) == 12
    assert len(drawn) == 2


def test_the_answer_is_described() -> None:
    document = get(replica([EVERYONE]), "/openapi.json").json()
    for name in ("ScoreAnswer", "RecommendAnswer"):
        assert "arms" in document["components"]["schemas"][name]["properties"]
