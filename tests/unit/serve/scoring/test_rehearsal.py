"""Before its first request a replica scores once, so that no request waits for code to load."""

from __future__ import annotations

import pytest
from fake_retriever import FakeRetriever, item
from http_calls import get, score
from serving import FakeFeatures, FakeScorer, ReplicaUnderTest, TwoTables

from freshrank.actors.features.service import FeatureService
from freshrank.actors.messages import Floats, Inputs


@pytest.mark.parametrize("features", [FakeFeatures(), TwoTables()], ids=["one", "two tables"])
def test_one_candidate_is_scored_that_nobody_is_told_of(
    features: FeatureService, monkeypatch: pytest.MonkeyPatch
) -> None:
    retriever = FakeRetriever({"3": item()})
    replica = ReplicaUnderTest(features=features, retriever=retriever)
    scored = list[Inputs]()

    def noted(inputs: Inputs) -> Floats:
        scored.append(inputs)
        return FakeScorer().score(inputs)

    monkeypatch.setattr(replica.service.model, "score", noted)
    metrics = get(replica, "/metrics").text
    assert [len(inputs) for inputs in scored] == [1]
    assert all(keys == [b"fr:probe"] for keys in replica.store.reads)
    assert not any(replica.log.read("shop.impressions", part, 0, 9).values for part in range(4))
    assert "freshrank_candidates_total 0.0" in metrics
    assert replica.service.model.newest is None


def test_a_model_that_fails_for_it_does_not_keep_the_replica_from_its_requests(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    replica = ReplicaUnderTest()

    def picky(inputs: Inputs) -> Floats:
        if len(inputs) < 2:
            raise ZeroDivisionError
        return FakeScorer().score(inputs)

    monkeypatch.setattr(replica.service.model, "score", picky)
    assert score(replica).status_code == 200
    assert "the rehearsal of a request failed" in caplog.messages
