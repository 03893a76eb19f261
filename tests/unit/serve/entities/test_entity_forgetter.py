"""A request to forget an entity becomes a tombstone in the topic of each stream."""

from __future__ import annotations

from dataclasses import replace

import httpx
import pytest
from http_calls import candidates, get, talk
from serving import EVENT_SCHEMA, JsonCodec, ReplicaUnderTest

from freshrank.actors.errors import Unavailable
from freshrank.actors.kernels.partitioner import partition_of
from freshrank.serve.api.responses import ForgetAnswer
from freshrank.serve.scoring.served_pipeline import EventStream

PARTITION = partition_of(b"u1", 4)
BEHAVIOUR = EventStream("behaviour", JsonCodec(), EVENT_SCHEMA)


def delete(replica: ReplicaUnderTest, path: str, **headers: str) -> httpx.Response:
    return talk(replica, lambda client: client.delete(path, headers=headers))


def test_a_tombstone_is_written_to_each_stream_and_the_answer_says_where() -> None:
    replica = ReplicaUnderTest(streams=[BEHAVIOUR, replace(BEHAVIOUR, topic="orders")])
    replica.log.append("orders", PARTITION, b"an order", 0)
    answer = delete(replica, "/v1/entities/user/u1")
    assert answer.status_code == 202
    positions = [
        {"partition": PARTITION, "offset": 0, "topic": "behaviour"},
        {"partition": PARTITION, "offset": 1, "topic": "orders"},
    ]
    assert answer.json() == {"entity": "user", "id": "u1", "positions": positions}
    for topic, offset in (("behaviour", 0), ("orders", 1)):
        written = replica.log.read(topic, PARTITION, offset, 9)
        assert (written.values, written.keys) == ([None], [b"u1"])


def test_an_id_may_hold_anything(replica: ReplicaUnderTest) -> None:
    assert delete(replica, "/v1/entities/user/a%2Fb%20%C3%BC").json()["id"] == "a/b ü"


@pytest.mark.parametrize(
    ("path", "status", "field"),
    [
        ("/v1/entities/shop/u1", 404, "entity"),
        ("/v1/entities/user/", 422, "id"),
        ("/v1/entities/user/" + 257 * "u", 422, "id"),
    ],
)
def test_what_cannot_be_forgotten_is_refused(
    replica: ReplicaUnderTest, path: str, status: int, field: str
) -> None:
    answer = delete(replica, path)
    assert (answer.status_code, answer.json()["error"]["field"]) == (status, field)
    assert all(replica.log.end("behaviour", partition) == 0 for partition in range(4))


def test_a_key_has_to_allow_writing_events() -> None:
    secret = "k" * 32
    access = {"require_keys": True, "api_key": secret}
    replica = ReplicaUnderTest(access=access)
    assert delete(replica, "/v1/entities/user/u1").status_code == 401
    bearer = f"Bearer {secret}"
    assert delete(replica, "/v1/entities/user/u1", authorization=bearer).status_code == 202


def test_a_page_of_another_site_deletes_nothing(replica: ReplicaUnderTest) -> None:
    answer = delete(replica, "/v1/entities/user/u1", origin="https://elsewhere.example")
    assert answer.status_code == 403
    assert replica.log.end("behaviour", PARTITION) == 0


def test_a_broker_that_is_away_is_a_503(
    replica: ReplicaUnderTest, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def away(topic: str, key: bytes | None, value: bytes | None) -> tuple[int, int]:
        raise Unavailable("kafka", "away")

    monkeypatch.setattr(replica.sink, "send", away)
    assert delete(replica, "/v1/entities/user/u1").status_code == 503


def test_the_replica_keeps_no_row_to_answer_from_without_the_store(
    replica: ReplicaUnderTest,
) -> None:
    replica.store.kept[b"row:u1"] = b"4"
    body = {"user": "u1", "candidates": candidates(3, 4)}

    async def story(client: httpx.AsyncClient) -> list[str]:
        sources = []
        for deletes in (False, True):
            if deletes:
                await client.delete("/v1/entities/user/u1")
            replica.store.away = False
            if not deletes:
                await client.post("/v1/score", json=body)
            replica.store.away = True
            answer = await client.post("/v1/score", json=body)
            sources.append(answer.json()["features"]["source"])
        return sources

    assert talk(replica, story) == ["stale", "outage"]


def test_events_from_before_a_tombstone_are_not_given() -> None:
    replica = ReplicaUnderTest()

    async def story(client: httpx.AsyncClient) -> list[int]:
        for number in range(2):
            await client.post("/v1/events", json={"user_id": "u1", "ts": number})
        await client.post("/v1/events", json={"user_id": "u9", "ts": 5})
        await client.delete("/v1/entities/user/u1")
        await client.post("/v1/events", json={"user_id": "u1", "ts": 7})
        found = (await client.get("/v1/entities/user/u1/events")).json()["events"]
        return [one["event"]["ts"] for one in found]

    assert talk(replica, story) == [7]
    others = get(replica, "/v1/entities/user/u9/events").json()["events"]
    assert [one["event"]["ts"] for one in others] == [5]


def test_the_answer_is_that_of_its_type(replica: ReplicaUnderTest) -> None:
    assert set(delete(replica, "/v1/entities/user/u1").json()) == set(
        ForgetAnswer.__struct_fields__
    )
