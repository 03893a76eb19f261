"""Requests that are answered by pinned weights, because they or their arm want it."""

from __future__ import annotations

from typing import Any

import httpx
import numpy as np
import pytest
from fake_retriever import FakeRetriever, item
from http_calls import candidates, get, post
from serving import FakeModel, FakeScorer, ReplicaUnderTest

from freshrank.actors.clock import SystemClock
from freshrank.actors.messages import Floats, Inputs, Version
from freshrank.serve.experiments.definitions import Arm, Experiment
from freshrank.serve.scoring.served_model import ServedModel

EVERYONE = Experiment("weights", [Arm("old", 1.0, pinned="1.2")])


class Old(FakeScorer):
    """Prefers what the live weights do not."""

    def score(self, inputs: Inputs) -> Floats:
        return 1 - super().score(inputs)


def replica(*experiments: Experiment) -> ReplicaUnderTest:
    retriever = FakeRetriever({str(key): item() for key in (3, 7)})
    made = ReplicaUnderTest(retriever=retriever, experiments=experiments)
    made.service.model = ServedModel(FakeScorer(), FakeModel(), SystemClock(), 0, {"1.2": Old()})
    made.store.kept[b"row:u1"] = b"7"
    return made


def score(made: ReplicaUnderTest, **changes: Any) -> httpx.Response:
    body = {"user": "u1", "candidates": candidates(7, 3)} | changes
    return post(made, "/v1/score", json=body)


def test_a_request_gets_the_weights_that_it_names() -> None:
    answer = score(replica(), pinned="1.2").json()
    assert answer["model"] == {"version": "1.2", "age_ms": None}
    assert answer["scores"] == pytest.approx([0.1, 0.9])
    assert "arms" not in answer
    assert score(replica()).json()["scores"] == pytest.approx([0.9, 0.1])


def test_the_version_that_is_served_may_be_named() -> None:
    answer = score(replica(), pinned="1.5").json()
    assert answer["model"] == {"version": "1.5", "age_ms": 40}
    assert answer["scores"] == pytest.approx([0.9, 0.1])


def test_pinned_weights_come_before_live_ones_of_the_same_number() -> None:
    made = replica()
    model = FakeModel()
    model.version = Version(1, 2)
    made.service.model = ServedModel(FakeScorer(), model, SystemClock(), 0, {"1.2": Old()})
    answer = score(made, pinned="1.2").json()
    assert answer["model"] == {"version": "1.2", "age_ms": None}
    assert answer["scores"] == pytest.approx([0.1, 0.9])


def test_an_arm_is_answered_by_its_weights_and_logged_with_them() -> None:
    made = replica(EVERYONE)
    answer = score(made).json()
    assert answer["arms"] == {"weights": "old"}
    assert answer["model"]["version"] == "1.2"
    assert answer["ranking"] == [1, 0]
    (logged,) = made.impressions()
    assert (logged.version, logged.arms) == ("1.2", {"weights": "old"})
    assert np.frombuffer(logged.scores, np.float32).tolist() == pytest.approx([0.9, 0.1])


def test_a_request_that_names_its_weights_is_in_no_experiment_on_weights() -> None:
    answer = score(replica(EVERYONE), pinned="1.5").json()
    assert "arms" not in answer
    assert answer["model"]["version"] == "1.5"


@pytest.mark.parametrize("path", ["/v1/score", "/v1/recommend", "/v1/explain"])
def test_weights_that_are_not_held_are_a_409_that_says_which_are(path: str) -> None:
    body: dict[str, Any] = {"user": "u1", "pinned": "1.4"}
    if path != "/v1/recommend":
        body["candidates"] = candidates(7, 3)
    answer = post(replica(), path, json=body)
    assert answer.status_code == 409
    error = answer.json()["error"]
    assert error["field"] == "pinned"
    assert "arms are pinned to 1.2" in error["reason"]


@pytest.mark.parametrize("other", [{"min_version": "1.1"}, {"max_model_age_ms": 50}])
@pytest.mark.parametrize("path", ["/v1/score", "/v1/recommend"])
def test_one_version_and_a_bound_are_refused_together(path: str, other: dict[str, Any]) -> None:
    body: dict[str, Any] = {"user": "u1", "pinned": "1.2"} | other
    if path == "/v1/score":
        body["candidates"] = candidates(7)
    answer = post(replica(), path, json=body)
    assert answer.status_code == 409
    assert answer.json()["error"]["field"] == "pinned"


def test_recommendations_and_their_reasons_are_by_the_weights_of_the_arm() -> None:
    made = replica(EVERYONE)
    body = {"user": "u1", "exclude_seen": False, "explain": 1}
    answer = post(made, "/v1/recommend", json=body).json()
    assert [one["id"] for one in answer["items"]] == [3, 7]
    assert answer["model"]["version"] == "1.2"
    nothing = post(made, "/v1/recommend", json=body | {"filters": {"brand": "none"}}).json()
    assert nothing["model"]["version"] == "1.2"


def test_explanations_are_of_the_weights_that_score() -> None:
    made, body = replica(EVERYONE), {"user": "u1", "candidates": candidates(7)}
    answer = post(made, "/v1/explain", json=body).json()
    assert answer["model"]["version"] == "1.2"
    assert answer["candidates"][0]["score"] == pytest.approx(0.1)
    live = post(made, "/v1/explain", json=body | {"pinned": "1.5"}).json()
    assert live["candidates"][0]["score"] == pytest.approx(0.9)


def test_the_held_versions_are_told() -> None:
    assert get(replica(), "/v1/model").json()["pinned"] == ["1.2"]
