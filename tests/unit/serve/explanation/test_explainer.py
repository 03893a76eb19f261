"""POST /v1/explain: what a score is made of, with nothing shown and scores answered meanwhile."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import httpx
import msgspec
import numpy as np
import pytest
from http_calls import candidates, get, post, score, talk
from serving import FakeModel, FakeScorer, ReplicaUnderTest

from freshrank.actors.clock import SystemClock
from freshrank.actors.messages import Inputs, Version
from freshrank.actors.parameters.explanation import Explanation
from freshrank.serve.api.requests import RequestLimits
from freshrank.serve.explanation.explainer import Explainer
from freshrank.serve.scoring.served_model import ServedModel


def explain(replica: ReplicaUnderTest, **changes: Any) -> httpx.Response:
    body = {"user": "u1", "candidates": candidates(3, 4, 5)} | changes
    return post(replica, "/v1/explain", json=body)


def test_each_candidate_has_its_score_and_what_it_is_made_of(replica: ReplicaUnderTest) -> None:
    replica.store.kept[b"row:u1"] = b"4"
    answer = explain(replica).json()
    scored = score(replica).json()
    assert [one["score"] for one in answer["candidates"]] == scored["scores"]
    assert answer["model"] == scored["model"]
    assert answer["features"]["source"] == "online"
    assert answer["features"]["offset"] == 7
    assert answer["candidates"][1] == {
        "score": 0.9,
        "logit": pytest.approx(0.9),
        "base": 0.1,
        "residual": pytest.approx(0.0, abs=1e-6),
        "contributions": [
            {
                "input": "wanted",
                "kind": "number",
                "value": True,
                "contribution": pytest.approx(0.8),
            },
            {"input": "item_id", "kind": "id", "value": 4, "contribution": 0.0},
        ],
    }


def test_bad_candidates_are_skipped_where_a_request_wants_it(replica: ReplicaUnderTest) -> None:
    replica.store.kept[b"row:u1"] = b"4"
    mixed = [{}, *candidates(3), 7, *candidates(4)]
    refused = explain(replica, candidates=mixed)
    assert refused.json()["error"]["field"] == "candidates[0].item_id"
    answer = explain(replica, candidates=mixed, on_bad_candidate="skip").json()
    scores = [one and one["score"] for one in answer["candidates"]]
    assert scores == [None, 0.1, None, 0.9]
    assert [one["index"] for one in answer["skipped"]] == [0, 2]
    assert "skipped" not in explain(replica, on_bad_candidate="skip").json()


class Signs(FakeScorer):
    def explain(self, inputs: Inputs) -> Iterator[Explanation]:
        for one in super().explain(inputs):
            yield Explanation(
                self.layout, one.score, one.output, 0.0, np.array([0.25]), np.array([-0.75]), True
            )


def service_of(replica: ReplicaUnderTest, scorer: FakeScorer) -> Explainer:
    replica.service.model = ServedModel(scorer, replica.model, SystemClock(), 0)
    return Explainer(replica.service)


def body_of(*items: int) -> bytes:
    return msgspec.json.encode({"user": "u1", "candidates": candidates(*items)})


def test_the_largest_contribution_comes_first_whatever_its_sign(
    replica: ReplicaUnderTest,
) -> None:
    answer = asyncio.run(service_of(replica, Signs()).explain(body_of(3)))
    (one,) = answer.candidates
    assert one is not None
    assert [each.contribution for each in one.contributions] == [-0.75, 0.25]
    assert one.logit is not msgspec.UNSET
    assert one.residual == pytest.approx(one.logit + 0.5)


class Numbers(FakeScorer):
    is_logit = False


def test_a_score_that_is_no_probability_has_an_output_and_no_logit(
    replica: ReplicaUnderTest,
) -> None:
    answer = asyncio.run(service_of(replica, Numbers()).explain(body_of(3)))
    (one,) = msgspec.to_builtins(answer)["candidates"]
    assert "logit" not in one
    assert one["output"] == pytest.approx(one["score"], abs=1e-6)


def test_nothing_is_logged_and_no_score_is_counted(replica: ReplicaUnderTest) -> None:
    async def story(client: httpx.AsyncClient) -> tuple[int, dict[str, Any], str]:
        body = {"user": "u1", "candidates": candidates(3, 4), "show": 2}
        status = (await client.post("/v1/explain", json=body)).status_code
        own = (await client.get("/v1/status")).json()["replica"]
        return status, own, (await client.get("/metrics")).text

    status, own, text = talk(replica, story)
    assert status == 200
    assert all(replica.log.end("shop.impressions", partition) == 0 for partition in range(4))
    assert own["requests"] == 0
    assert 'freshrank_requests_total{route="/v1/explain",status="200"} 1.0' in text
    assert "freshrank_candidates_total 0.0" in text


def test_more_candidates_than_the_bound_are_a_422_that_names_it(replica: ReplicaUnderTest) -> None:
    assert explain(replica, candidates=candidates(*range(20))).status_code == 200
    answer = explain(replica, candidates=candidates(*range(21)))
    assert answer.status_code == 422
    error = {"field": "candidates", "reason": "Expected `array` of length <= 20"}
    assert answer.json()["error"] == error
    few = ReplicaUnderTest(RequestLimits(explained=2))
    assert explain(few).status_code == 422
    assert get(few, "/v1/pipeline").json()["bounds"]["explained"] == 2


@pytest.mark.parametrize(
    ("changes", "status", "field"),
    [
        ({"candidates": []}, 422, "candidates"),
        ({"candidates": [{"item_id": 1, "price": 1}]}, 422, "candidates[0].note"),
        ({"user": 5}, 422, "user"),
        ({"shown": 1}, 422, "body"),
        ({"min_version": "1.6"}, 409, "min_version"),
        ({"max_model_age_ms": 39}, 409, "max_model_age_ms"),
    ],
)
def test_wrong_input_is_a_4xx_that_names_the_field(
    replica: ReplicaUnderTest, changes: dict[str, Any], status: int, field: str
) -> None:
    answer = explain(replica, **changes)
    assert answer.status_code == status
    assert answer.json()["error"]["field"] == field


def test_requests_beyond_the_ongoing_ones_are_refused() -> None:
    assert explain(ReplicaUnderTest(max_ongoing_requests=0)).status_code == 503


class Noting(FakeScorer):
    """Notes each candidate that is explained, when newer weights and other work come."""

    def __init__(self, model: FakeModel) -> None:
        self._model = model
        self.notes: list[str] = []

    def explain(self, inputs: Inputs) -> Iterator[Explanation]:
        for one, item in zip(super().explain(inputs), inputs.ids[:, 0].tolist(), strict=True):
            self.notes.append(f"candidate {item}")
            self._model.version = Version(9, 9)
            asyncio.get_running_loop().call_soon(self.notes.append, "other work")
            yield one


def test_other_work_is_done_between_two_candidates_and_requests_take_turns(
    replica: ReplicaUnderTest,
) -> None:
    scorer = Noting(replica.model)
    explainer = service_of(replica, scorer)

    async def story() -> list[str | None]:
        both = (explainer.explain(body_of(*items)) for items in ((3, 4, 5), (6,)))
        return [answer.model.version for answer in await asyncio.gather(*both)]

    assert asyncio.run(story()) == ["1.5", "9.9"], "that of the moment at which it began"
    assert scorer.notes[::2] == [f"candidate {item}" for item in (3, 4, 5, 6)]
    assert scorer.notes[1::2] == ["other work"] * 4


def test_without_weights_the_untrained_model_is_explained() -> None:
    model = FakeModel()
    model.version = None
    answer = explain(ReplicaUnderTest(model=model)).json()
    assert answer["model"]["version"] is None
    assert len(answer["candidates"]) == 3
