"""The endpoints over HTTP, with fakes behind them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import httpx
import numpy as np
import pytest
from http_calls import candidates, get, post, score, talk
from serving import EVENT_SCHEMA, FakeFeatures, JsonCodec, ReplicaUnderTest, ReversedCodec

from freshrank.actors.clock import SystemClock
from freshrank.actors.errors import Unavailable
from freshrank.actors.impressions import served_rows
from freshrank.actors.protocols import Status
from freshrank.feature_actors.connectors.in_memory.stores import MemoryStatusRegistry
from freshrank.serve.api.requests import RequestLimits
from freshrank.serve.http.page.assembly import page
from freshrank.serve.scoring.served_pipeline import EventStream


def test_a_score_names_the_model_and_the_features_that_gave_it(replica: ReplicaUnderTest) -> None:
    replica.store.kept[b"row:u1"] = b"4"
    answer = score(replica).json()
    assert answer["scores"] == [0.1, 0.9, 0.1]
    assert answer["ranking"] == [1, 0, 2]
    assert answer["model"] == {"version": "1.5", "age_ms": 40}
    assert answer["features"]["source"] == "online"
    assert answer["features"]["event_time_ms"] == 1_000
    assert answer["features"]["offset"] == 7


def test_a_new_user_is_scored_with_defaults_and_the_answer_says_so(
    replica: ReplicaUnderTest,
) -> None:
    features = score(replica).json()["features"]
    assert features == {"source": "new", "event_time_ms": None, "age_ms": None, "offset": None}


def test_without_the_store_the_last_known_row_answers_and_others_are_told_as_an_outage(
    replica: ReplicaUnderTest,
) -> None:
    replica.store.kept[b"row:u1"] = b"5"

    async def story(client: httpx.AsyncClient) -> list[Any]:
        body = {"user": "u1", "candidates": candidates(5, 6)}
        known = (await client.post("/v1/score", json=body)).json()
        replica.store.away = True
        last = (await client.post("/v1/score", json=body)).json()
        other = (await client.post("/v1/score", json=body | {"user": "u2"})).json()
        return [known, last, other]

    known, last, other = talk(replica, story)
    assert [one["features"]["source"] for one in (known, last, other)] == [
        "online",
        "stale",
        "outage",
    ]
    assert last["scores"] == known["scores"]


def test_the_best_candidates_are_logged_exactly_as_they_were_scored(
    replica: ReplicaUnderTest,
) -> None:
    replica.store.kept[b"row:u1"] = b"4"
    answer = score(replica, show=2).json()
    (impression,) = replica.impressions()
    keys, inputs, scores = served_rows(impression, dense_width=1, id_width=1)
    assert impression.request_id == answer["request_id"]
    assert (impression.entity, impression.version, impression.layout) == ("u1", "1.5", "abc")
    assert not impression.outage
    assert keys.tolist() == [4, 3]
    np.testing.assert_array_equal(inputs.dense, [[1.0], [0.0]])
    np.testing.assert_array_equal(inputs.ids, [[4], [3]])
    answered = sorted(answer["scores"], reverse=True)[: len(keys)]
    assert scores.tolist() == pytest.approx(answered)


def test_an_answer_of_which_a_row_could_not_be_read_is_flagged_in_the_log(
    replica: ReplicaUnderTest,
) -> None:
    replica.store.away = True
    assert score(replica, show=2).json()["features"]["source"] == "outage"
    (impression,) = replica.impressions()
    assert impression.outage


def test_nothing_is_logged_when_nothing_is_shown(replica: ReplicaUnderTest) -> None:
    score(replica, show=0)
    assert all(replica.log.end("shop.impressions", partition) == 0 for partition in range(4))


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"user": 5}, "user"),
        ({"user": ""}, "user"),
        ({"candidates": []}, "candidates"),
        ({"candidates": candidates(*range(1001))}, "candidates"),
        ({"candidates": [{"item_id": "x", "note": "n", "price": 1}]}, "candidates[0].item_id"),
        ({"candidates": [{"item_id": 1, "price": 1}]}, "candidates[0].note"),
        ({"candidates": [{"item_id": 2**64, "note": "", "price": 1}]}, "candidates[0].item_id"),
        ({"candidates": [*candidates(1), 7]}, "candidates[1]"),
        ({"candidats": []}, "body"),
        ({"show": -1}, "show"),
        ({"min_version": "seven"}, "min_version"),
    ],
)
def test_wrong_input_is_a_4xx_that_names_the_field(
    replica: ReplicaUnderTest, changes: dict[str, Any], field: str
) -> None:
    answer = score(replica, **changes)
    assert answer.status_code == 422
    error = answer.json()["error"]
    assert error["field"] == field
    assert error["reason"]


def test_an_unknown_field_is_answered_with_those_that_are_known(replica: ReplicaUnderTest) -> None:
    reason = score(replica, entity="u1").json()["error"]["reason"]
    assert reason == (
        "Object contains unknown field `entity`. "
        "It takes: `user`, `candidates`, `show`, `on_bad_candidate`, `min_version`, "
        "`max_model_age_ms`, `min_offsets`, `pinned`, "
        "`timeout_ms`"
    )
    (candidate,) = candidates(1)
    reason = score(replica, candidates=[{**candidate, "prize": 2}]).json()["error"]["reason"]
    assert reason.endswith(
        "field `prize`; did you mean `price`? It takes: `item_id`, `note`, `price`"
    )


@pytest.mark.parametrize("body", [b"", b"{", b"\xff\xfe", b"[" * 100_000, b'{"user":"\xff"}'])
def test_a_body_that_is_not_json_is_a_400(replica: ReplicaUnderTest, body: bytes) -> None:
    answer = post(replica, "/v1/score", content=body)
    assert answer.status_code in (400, 422)
    assert answer.json()["error"]["field"] == "body"


def test_a_body_beyond_the_bound_is_a_413() -> None:
    small = ReplicaUnderTest(RequestLimits(body_bytes=100))
    answer = post(small, "/v1/score", content=b" " * 101)
    assert answer.status_code == 413


def test_too_many_ongoing_requests_get_a_503_with_retry_after() -> None:
    answer = score(ReplicaUnderTest(max_ongoing_requests=0))
    assert answer.status_code == 503
    assert answer.headers["retry-after"] == "1"


def test_a_version_that_does_not_come_in_time_is_a_409(replica: ReplicaUnderTest) -> None:
    answer = score(replica, min_version="1.6")
    assert answer.status_code == 409
    assert answer.json()["error"]["field"] == "min_version"
    assert score(replica, min_version="1.5").status_code == 200


def test_weights_older_than_allowed_are_a_409(replica: ReplicaUnderTest) -> None:
    answer = score(replica, max_model_age_ms=39)
    assert answer.status_code == 409
    assert answer.json()["error"]["field"] == "max_model_age_ms"
    assert score(replica, max_model_age_ms=40).status_code == 200


def test_rows_without_the_event_that_is_asked_for_are_a_409(replica: ReplicaUnderTest) -> None:
    replica.store.kept[b"row:u1"] = b"4"
    assert score(replica, min_offsets={"events": 7}).status_code == 200
    answer = score(replica, min_offsets={"events": 8}, timeout_ms=0)
    assert answer.status_code == 409
    assert answer.json()["error"]["field"] == "min_offsets"
    assert "the last in it: the one at offset 7" in answer.json()["error"]["reason"]


def test_a_topic_whose_events_are_in_no_row_is_told_with_those_that_are(
    replica: ReplicaUnderTest,
) -> None:
    unknown = score(replica, min_offsets={"orders": 1})
    assert unknown.status_code == 409, "the request is valid by the document"
    assert "of a user, only of 'events'" in unknown.json()["error"]["reason"]
    misspelt = score(replica, min_offsets={"event": 1})
    assert misspelt.json()["error"]["reason"].endswith("did you mean 'events'?")


class CopiedFeatures(FakeFeatures):
    """Of a stream with ``partitioner="any"``."""

    def freshness(self, entity: str, rows: Sequence[bytes | None]) -> tuple[int, Mapping[str, int]]:
        return 1_000, {"events.by_user": 7}


def test_offsets_of_what_is_copied_are_told_apart_from_those_of_the_copies() -> None:
    answer = score(ReplicaUnderTest(features=CopiedFeatures()), min_offsets={"events": 1})
    assert answer.status_code == 409
    assert "copies, whose offsets are not those of the events" in answer.text


def test_events_are_written_to_the_topic_and_answered_with_their_positions(
    replica: ReplicaUnderTest,
) -> None:
    answer = post(replica, "/v1/events", json=[{"user_id": "a"}, {"user_id": "a"}])
    assert answer.json()["accepted"] == 2
    first, second = answer.json()["positions"]
    assert second == {**first, "offset": first["offset"] + 1}
    assert first["topic"] == "behaviour"
    assert replica.log.end("behaviour", first["partition"]) == 2


def test_a_single_event_needs_no_list(replica: ReplicaUnderTest) -> None:
    assert post(replica, "/v1/events", json={"user_id": "a"}).json()["accepted"] == 1


def test_a_list_with_an_invalid_event_is_not_written_at_all(replica: ReplicaUnderTest) -> None:
    answer = post(replica, "/v1/events", json=[{"user_id": "a"}, {"user_id": 5}])
    assert answer.status_code == 422
    assert answer.json()["error"]["field"] == "events[1].user_id"
    assert all(replica.log.end("behaviour", partition) == 0 for partition in range(4))


def test_the_only_stream_may_be_named(replica: ReplicaUnderTest) -> None:
    assert post(replica, "/v1/events?stream=behaviour", json={"user_id": "a"}).status_code == 200
    answer = post(replica, "/v1/events?stream=orders", json={"user_id": "a"})
    assert answer.status_code == 422
    problem = {"field": "stream", "reason": "there is no 'orders': name 'behaviour'"}
    assert answer.json()["error"] == problem


class AnyEvent(JsonCodec):
    def key(self, value: bytes) -> bytes:
        return b"z"


@pytest.fixture
def two_streams() -> ReplicaUnderTest:
    """A replica whose second stream takes any event, of the user ``z``."""
    clicks = EventStream("clicks", JsonCodec(), EVENT_SCHEMA)
    return ReplicaUnderTest(streams=[clicks, EventStream("orders", AnyEvent(), {})])


def test_an_event_goes_to_the_stream_that_the_request_names(two_streams: ReplicaUnderTest) -> None:
    answer = post(two_streams, "/v1/events?stream=orders", json={"order": 7})
    (position,) = answer.json()["positions"]
    assert position["topic"] == "orders"
    assert two_streams.log.end("orders", position["partition"]) == 1
    answer = post(two_streams, "/v1/events?stream=clicks", json=[{"user_id": "a"}])
    assert answer.json()["positions"][0]["topic"] == "clicks"
    answer = post(two_streams, "/v1/events?stream=clicks", json={"user_id": 5})
    assert (answer.status_code, answer.json()["error"]["field"]) == (422, "user_id")


@pytest.mark.parametrize(
    ("query", "reason"),
    [
        ("", "is missing: name 'clicks' or 'orders'"),
        ("?stream=shown", "there is no 'shown': name 'clicks' or 'orders'"),
    ],
)
def test_of_several_streams_a_request_has_to_name_one(
    two_streams: ReplicaUnderTest, query: str, reason: str
) -> None:
    answer = post(two_streams, f"/v1/events{query}", json={"user_id": "a"})
    assert answer.status_code == 422
    assert answer.json()["error"] == {"field": "stream", "reason": reason}
    assert all(two_streams.log.end("clicks", partition) == 0 for partition in range(4))


def test_posted_events_are_written_in_the_format_of_their_stream() -> None:
    replica = ReplicaUnderTest(streams=[EventStream("behaviour", ReversedCodec(), EVENT_SCHEMA)])
    answer = post(replica, "/v1/events", content=b'[{"user_id": "a", "ts": 5}]')
    (position,) = answer.json()["positions"]
    batch = replica.log.read("behaviour", position["partition"], 0, 10)
    assert batch.values == [b'{"user_id": "a", "ts": 5}'[::-1]]


def test_the_streams_are_described(two_streams: ReplicaUnderTest) -> None:
    described = get(two_streams, "/v1/pipeline").json()
    assert described["streams"] == ["clicks", "orders"]
    assert described["event_schemas"] == {
        stream.topic: stream.schema for stream in two_streams.service.pipeline.streams
    }
    assert described["event_schema"] == described["event_schemas"]["clicks"]
    (stream,) = get(two_streams, "/openapi.json").json()["paths"]["/v1/events"]["post"][
        "parameters"
    ]
    assert (stream["required"], stream["in"]) == (True, "query")
    assert stream["schema"] == {"type": "string", "enum": ["clicks", "orders"]}


def test_features_are_answered_by_name(replica: ReplicaUnderTest) -> None:
    replica.store.kept[b"row:u1"] = b"4"
    answer = get(replica, "/v1/features/user/u1").json()
    assert answer["features"] == {"favourite": 4}
    assert answer["source"] == "online"


def test_an_unknown_entity_is_a_404(replica: ReplicaUnderTest) -> None:
    assert get(replica, "/v1/features/item/1").status_code == 404


def test_the_model_is_described_by_version_age_and_offsets(replica: ReplicaUnderTest) -> None:
    answer = get(replica, "/v1/model").json()
    assert answer["version"] == "1.5"
    assert answer["age_ms"] == 40
    assert answer["applied"] == {"0": {"behaviour": 12, "shown": 3}}


def test_ready_only_with_weights_and_a_store_that_answers(replica: ReplicaUnderTest) -> None:
    assert get(replica, "/readyz").status_code == 200
    replica.model.version = None
    replica.store.away = True
    answer = get(replica, "/readyz")
    assert answer.status_code == 503
    assert set(answer.json()["missing"]) == {"model", "online_store"}


def test_ready_only_while_all_parts_tell_that_new_events_reach_the_answers(
    replica: ReplicaUnderTest,
) -> None:
    async def missing(client: httpx.AsyncClient) -> dict[str, str]:
        answer = await client.get("/readyz")
        assert answer.status_code == 503
        found: dict[str, str] = answer.json()["missing"]
        return found

    async def story(client: httpx.AsyncClient) -> None:
        statuses = replica.status_registry
        stalled = {"behaviour-1": "5 record(s) wait"}
        owned: dict[str, dict[str, int]] = {"0": {}, "1": {}, "3": {}}
        await statuses.post("shard-0", {"partitions": owned, "not_ready": stalled})
        assert await missing(client) == {
            "shard-0": "behaviour-1: 5 record(s) wait",
            "shards": "no shard has reported on partition(s) 2 lately",
        }
        await statuses.post("shard-0", {"partitions": {}, "starting": True})
        assert (await missing(client))["shards"].endswith("0, 1, 2, 3 lately")

    talk(replica, story)


def test_not_ready_without_the_statuses_of_the_parts() -> None:
    class Away(MemoryStatusRegistry):
        async def collect(self) -> dict[str, Status]:
            raise Unavailable("statuses", "no actor of this role is alive")

    replica = ReplicaUnderTest(status_registry=Away(SystemClock()))
    assert get(replica, "/readyz").json()["missing"] == {
        "statuses": "statuses: no actor of this role is alive"
    }
    silent = ReplicaUnderTest(status_registry=MemoryStatusRegistry(SystemClock()))
    assert set(get(silent, "/readyz").json()["missing"]) == {"learner", "shards"}


def test_metrics_count_requests_by_status_and_contain_posted_numbers(
    replica: ReplicaUnderTest,
) -> None:
    async def story(client: httpx.AsyncClient) -> str:
        await replica.status_registry.post("shard-0", {"events_per_s": 12.5, "lag": {"0": 4}})
        await client.post("/v1/score", json={"user": "u", "candidates": candidates(1)})
        await client.post("/v1/score", content=b"no")
        return (await client.get("/metrics")).text

    text = talk(replica, story)
    assert 'freshrank_requests_total{route="/v1/score",status="200"} 1.0' in text
    assert 'freshrank_requests_total{route="/v1/score",status="400"} 1.0' in text
    assert 'freshrank_part_events_per_s{part="shard-0"} 12.5' in text
    assert "freshrank_part_lag" not in text


def test_the_document_describes_the_routes_and_the_candidates(replica: ReplicaUnderTest) -> None:
    document = get(replica, "/openapi.json").json()
    assert {"/v1/score", "/v1/events", "/v1/model"} <= set(document["paths"])
    candidate = document["components"]["schemas"]["Candidate"]
    assert set(candidate["properties"]) == {"item_id", "note", "price"}


def test_the_page_is_sent_with_its_security_policy(replica: ReplicaUnderTest) -> None:
    answer = get(replica, "/")
    assert answer.headers["content-security-policy"] == page().policy
    assert answer.text == page().html
