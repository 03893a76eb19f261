"""Before its first request a replica scores once, so that no request waits for code to load."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import cast

import pytest
from fake_retriever import FakeRetriever, item
from http_calls import get, score
from serving import FakeFeatures, FakeScorer, ReplicaUnderTest, TwoTables

from freshrank.actors.errors import RequestError
from freshrank.actors.features.service import Candidates, FeatureService, RowLookup
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
    assert not replica.impressions()
    assert "freshrank_candidates_total 0.0" in metrics
    assert replica.service.model.newest is None


def _refuses_one(inputs: Inputs) -> Floats:
    if len(inputs) < 2:
        raise ZeroDivisionError("no mean of one")
    return FakeScorer().score(inputs)


class NoCandidateWithoutText(FakeFeatures):
    def lookups(self, key: str, candidates: Candidates) -> Sequence[RowLookup]:
        if candidates["note"] == [""]:
            raise RequestError("candidates[0].note", "it is empty")
        return super().lookups(key, candidates)


class NoInputsWithoutRow(FakeFeatures):
    def inputs(
        self,
        lookups: Sequence[RowLookup],
        rows: Sequence[bytes | None],
        key: str,
        candidates: Candidates,
        at_ms: int,
    ) -> Inputs:
        if candidates["note"] == [""]:
            raise KeyError("no row")
        return super().inputs(lookups, rows, key, candidates, at_ms)


FAILURES = {
    "lookups": (NoCandidateWithoutText(), FakeScorer().score, "RequestError: "),
    "inputs": (NoInputsWithoutRow(), FakeScorer().score, "KeyError: 'no row'"),
    "scores": (FakeFeatures(), _refuses_one, "ZeroDivisionError: no mean of one"),
}


@pytest.mark.parametrize("step", FAILURES)
def test_a_failure_is_an_alert_that_names_the_step_and_keeps_no_replica_from_its_requests(
    step: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    features, scores, error = FAILURES[step]
    replica = ReplicaUnderTest(features=features)
    monkeypatch.setattr(replica.service.model, "score", scores)
    assert score(replica).status_code == 200
    (alert,) = cast(list[Mapping[str, str]], replica.service.alerts.status()["newest"])
    assert (alert["kind"], alert["severity"]) == ("rehearsal_failed", "error")
    assert alert["message"].startswith(f"the {step} of a candidate without values failed: {error}")
    metrics = get(replica, "/metrics").text
    name = "freshrank_part_alerts_by_kind_rehearsal_failed"
    assert f'{name}{{part="replica"}} 2.0' in metrics, "the application has started twice"


def test_a_rehearsal_that_succeeds_is_no_alert() -> None:
    replica = ReplicaUnderTest()
    assert score(replica).status_code == 200
    assert replica.service.alerts.status()["by_kind"] == {}
