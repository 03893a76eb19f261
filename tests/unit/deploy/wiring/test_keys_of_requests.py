"""Each kind of entity is named by keys of its own type, whatever the key of requests is."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable
from typing import Any

import httpx
import msgspec
import pytest
from fake_clock import FakeClock
from grpc_calls import LocalCalls
from local_endpoint import local_endpoint
from small_shop import START_MS

from freshrank import (
    Count,
    Entity,
    FeatureView,
    Joined,
    LogisticRegression,
    Newest,
    Pipeline,
    Stream,
    Table,
    col,
)
from freshrank.deploy.wiring.local import LocalSystem, World
from freshrank.feature_actors.connectors.in_memory.log import MemoryLog

Asked = Callable[[LocalSystem, httpx.AsyncClient], Awaitable[None]]


def deals(member_type: type, book_type: type) -> Pipeline:
    """A pipeline whose requests name a member; rows are also of books and of pairs."""
    deal = msgspec.defstruct(
        "Deal",
        [
            ("id", str),
            ("member", member_type),
            ("book", book_type),
            ("at", int),
            ("genre", str | None, None),
        ],
    )
    product = msgspec.defstruct("Book", [("book", book_type), ("genre", str | None, None)])
    member, book = Entity("member", key="member"), Entity("book", key="book")
    pair = Entity("member_genre", key=["member", "genre"])
    stream = Stream("deals", id="id", time="at", key=member, schema=deal)
    catalogue = Table("books", key=book, schema=product)

    def view(name: str, entity: Entity, feature: str) -> type[FeatureView]:
        inside = {"entity": entity, "source": stream, feature: Count(windows=["1h"])}
        return type(name, (FeatureView,), inside)

    return Pipeline(
        "deals",
        stream=stream,
        features=[
            view("Members", member, "dealt"),
            view("Books", book, "sold"),
            view("Pairs", pair, "of_genre"),
        ],
        tables=[catalogue],
        context=["book", catalogue.genre],
        candidates=[Newest()],
        label=Joined(positive=col.genre == "crime", on="book", within="1m"),
        model=LogisticRegression(),
    )


def run(pipeline: Pipeline, asked: Asked) -> None:
    async def story() -> None:
        world = World(MemoryLog(1), FakeClock(START_MS))
        async with local_endpoint(pipeline, world) as (system, client):
            await asked(system, client)

    asyncio.run(story())


def event(member: Any, book: Any) -> dict[str, Any]:
    return {"id": "d1", "member": member, "book": book, "genre": "crime", "at": START_MS}


@pytest.mark.parametrize(("member", "book"), [(7, "a:b"), ("ann", 7), (7, 8), ("ann", "x")])
def test_the_rows_of_every_kind_are_read(member: int | str, book: int | str) -> None:
    async def asked(system: LocalSystem, client: httpx.AsyncClient) -> None:
        sent = await client.post("/v1/events", json=event(member, book))
        assert sent.status_code == 200, sent.text
        await system.drain()
        rows = {
            ("member", str(member)): "dealt_1h",
            ("book", str(book)): "sold_1h",
            ("member_genre", f"{member}:crime"): "of_genre_1h",
        }
        calls = LocalCalls(system.replica)
        for (kind, key), feature in rows.items():
            answer = await client.get(f"/v1/features/{kind}/{key}")
            assert answer.status_code == 200, answer.text
            assert answer.json()["features"][feature] == 1
            called, _ = await calls.ask("Features", {"entity": kind, "id": key})
            assert called.status == 200, called.problem
        for kind, key in list(rows)[1:]:
            for method, end in (("GET", "/events"), ("DELETE", "")):
                answer = await client.request(method, f"/v1/entities/{kind}/{key}{end}")
                error = answer.json()["error"]
                assert (answer.status_code, error["field"]) == (404, "entity"), answer.text
        forgotten = await client.delete(f"/v1/entities/member/{member}")
        assert forgotten.status_code == 202

    run(deals(type(member), type(book)), asked)


NO_INTEGER = "'abc' is no integer: write 7 as 7 or \"7\""


def test_what_is_no_integer_is_told_in_words_everywhere() -> None:
    async def asked(system: LocalSystem, client: httpx.AsyncClient) -> None:
        score = {"member": "abc", "candidates": [{"book": 1}]}
        wrong: list[tuple[str, str, Any, str, str]] = [
            ("POST", "/v1/score", score, "member", ""),
            ("POST", "/v1/explain", score, "member", ""),
            ("POST", "/v1/recommend", {"member": "abc"}, "member", ""),
            ("POST", "/v1/recommend", {"member": 7, "exclude": [1, "abc"]}, "exclude[1]", ""),
            ("POST", "/v1/events", event("abc", 1), "member", ""),
            ("GET", "/v1/features/member/abc", None, "id", ""),
            ("GET", "/v1/features/book/abc", None, "id", ""),
            ("GET", "/v1/features/member_genre/abc:crime", None, "id", "member: "),
            ("GET", "/v1/entities/member/abc/events", None, "id", ""),
            ("DELETE", "/v1/entities/member/abc", None, "id", ""),
        ]
        for method, path, body, field, before in wrong:
            answer = await client.request(method, path, **({} if body is None else {"json": body}))
            assert answer.status_code == 422, (path, answer.text)
            error = answer.json()["error"]
            assert (error["field"], error["reason"]) == (field, before + NO_INTEGER), path
        batch = await client.post("/v1/score/batch", json={"requests": [score]})
        assert batch.json()["answers"][0]["error"]["reason"] == NO_INTEGER
        calls = LocalCalls(system.replica)
        for name, request in (
            ("Score", score),
            ("Features", {"entity": "member", "id": "abc"}),
            ("Forget", {"entity": "member", "id": "abc"}),
        ):
            called, _ = await calls.ask(name, request)
            assert called.problem is not None and called.problem.reason == NO_INTEGER

    run(deals(int, int), asked)


def test_a_long_text_is_not_repeated_whole() -> None:
    async def asked(system: LocalSystem, client: httpx.AsyncClient) -> None:
        body = {"member": "7" * 9_000, "candidates": [{"book": 1}]}
        answer = await client.post("/v1/score", json=body)
        assert answer.status_code == 422
        assert len(answer.text) < 300

    run(deals(int, int), asked)


def test_the_schema_of_an_integer_key_admits_the_integer_and_its_text() -> None:
    async def asked(system: LocalSystem, client: httpx.AsyncClient) -> None:
        described = (await client.get("/v1/pipeline")).json()["event_schema"]
        document = (await client.get("/openapi.json")).json()
        event_type = document["components"]["schemas"]["deals.event"]
        for schema in (described, event_type):
            member = schema["properties"]["member"]
            assert [*member] == ["anyOf"]
            whole, text = member["anyOf"]
            assert whole["type"] == "integer" and "pattern" not in whole
            assert text["type"] == "string" and "minimum" not in text
            found = [bool(re.search(text["pattern"], one)) for one in ("7", "-7", "07", "abc")]
            assert found == [True, True, False, False]

    run(deals(int, int), asked)


def test_the_document_says_which_entities_have_rows_and_how_they_are_named() -> None:
    async def asked(system: LocalSystem, client: httpx.AsyncClient) -> None:
        paths = (await client.get("/openapi.json")).json()["paths"]
        kind, key = paths["/v1/features/{entity}/{id}"]["get"]["parameters"]
        assert kind["schema"]["enum"] == ["member", "book", "member_genre"]
        assert len(key["schema"]["anyOf"]) == 3
        kind, key = paths["/v1/entities/{entity}/{id}"]["delete"]["parameters"]
        assert kind["schema"]["enum"] == ["member"]
        assert "pattern" in key["schema"]

    run(deals(int, str), asked)
