"""Requests of a real pipeline are checked by the rules that its events have."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from typing import Annotated, Any, Literal
from urllib.parse import quote

import httpx
import msgspec
import pytest
from fake_clock import FakeClock
from local_endpoint import local_endpoint
from small_shop import START_MS

from freshrank import (
    Adagrad,
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
from freshrank.actors.errors import ConfigError
from freshrank.actors.impressions import decode_impression
from freshrank.actors.kernels.hashing import hash_text
from freshrank.deploy.config.settings import Settings
from freshrank.deploy.wiring.local import LocalSystem, World
from freshrank.feature_actors.connectors.in_memory.log import MemoryLog

CODE = Annotated[str, msgspec.Meta(max_length=4)]


class Visit(msgspec.Struct):
    visit_id: str
    session: int
    at: int
    item: str | None = None
    kind: Literal["view", "order"] = "view"
    gift: bool = False
    price: float | None = None
    code: CODE = ""


session = Entity("session", key="session")
visits = Stream("visits", id="visit_id", time="at", key=session, schema=Visit)


class Activity(FeatureView):
    entity, source = session, visits
    seen = Count(windows=["1h"])


pipeline = Pipeline(
    "visits",
    stream=visits,
    features=[Activity],
    context=["item", "kind", "gift", "price", "code"],
    label=Joined(positive=col.gift == True, on="item", within="1m"),  # noqa: E712
    model=LogisticRegression(),
    optimizer=Adagrad(),
)
CANDIDATE = {"item": "a"}


class Endpoint:
    """The REST API of the pipeline above, and the log that it writes to."""

    def __init__(self) -> None:
        self.clock = FakeClock(START_MS)
        self.log = MemoryLog(1)

    async def send(self, *requests: tuple[str, str, Any]) -> list[httpx.Response]:
        """The answers to requests (method, path, JSON)."""
        async with local_endpoint(pipeline, World(self.log, self.clock)) as (_, client):
            answers = [
                await client.request(method, path, **({} if body is None else {"json": body}))
                for method, path, body in requests
            ]
            await asyncio.sleep(0)
        return answers


def ask(method: str, path: str, body: Any = None) -> httpx.Response:
    return ask_all([(method, path, body)])[0]


def ask_all(requests: Sequence[tuple[str, str, Any]]) -> list[httpx.Response]:
    return asyncio.run(Endpoint().send(*requests))


def event(**changes: Any) -> dict[str, Any]:
    return {"visit_id": "v1", "session": 7, "at": START_MS, "item": "a"} | changes


def paths_of(key: str) -> list[str]:
    name = quote(key, safe="")
    return [f"/v1/features/session/{name}", f"/v1/entities/session/{name}/events"]


WRONG_KEYS = ["07", " 7", "7 ", "+7", "\u0667", "7\n", "-0", "7.0", "7_0", "abc", "0x7", str(2**63)]


def test_another_spelling_of_an_integer_is_no_key() -> None:
    requests: list[tuple[str, str, Any]] = []
    for key in WRONG_KEYS:
        requests.append(("POST", "/v1/score", {"session": key, "candidates": [CANDIDATE]}))
        requests.append(("POST", "/v1/events", event(session=key)))
        requests += [("GET", path, None) for path in paths_of(key)]
    answers = ask_all(requests)
    for begin, key in zip(range(0, len(answers), 4), WRONG_KEYS, strict=True):
        four = answers[begin : begin + 4]
        assert [answer.status_code for answer in four] == [422] * 4, key
        fields = [answer.json()["error"]["field"] for answer in four]
        assert fields == ["session", "session", "id", "id"], key


@pytest.mark.parametrize("key", [7, 0, -7, 2**63 - 1, -(2**63)])
def test_an_integer_and_its_canonical_text_are_the_same_key(key: int) -> None:
    async def story() -> None:
        endpoint = Endpoint()
        answers = await endpoint.send(
            ("POST", "/v1/events", [event(session=key), event(session=str(key), visit_id="v2")]),
            ("POST", "/v1/score", {"session": key, "candidates": [CANDIDATE]}),
            ("POST", "/v1/score", {"session": str(key), "candidates": [CANDIDATE]}),
            *(("GET", path, None) for path in paths_of(str(key))),
        )
        assert [answer.status_code for answer in answers] == [200] * 5
        written = endpoint.log.read("visits", 0, 0, 9).values
        assert [msgspec.json.decode(value or b"")["session"] for value in written] == [key, key]
        assert len(answers[-1].json()["events"]) == 2
        shown = endpoint.log.read("visits.impressions", 0, 0, 9).values
        assert [decode_impression(value or b"").entity for value in shown] == [str(key)] * 2

    asyncio.run(story())


def test_a_misspelt_field_of_a_posted_event_is_refused_with_the_one_that_was_meant() -> None:
    one, several, far = ask_all(
        [
            ("POST", "/v1/events", event(prise=4.0)),
            ("POST", "/v1/events", [event(), event(gifd=True)]),
            ("POST", "/v1/events", event(zzzz=1)),
        ]
    )
    assert [answer.status_code for answer in (one, several, far)] == [422] * 3
    error = one.json()["error"]
    found, takes = error["reason"].split(" It takes: ")
    assert error["field"] == "body"
    assert found == "Object contains unknown field `prise`; did you mean `price`?"
    assert sorted(takes.split(", ")) == sorted(f"`{name}`" for name in Visit.__struct_fields__)
    assert several.json()["error"]["field"] == "events[1]"
    assert "did you mean `gift`?" in several.json()["error"]["reason"]
    reason = "Object contains unknown field `zzzz`. It takes: "
    assert far.json()["error"]["reason"] == reason + takes


def test_a_value_that_a_field_cannot_have_is_refused_with_those_that_it_can() -> None:
    wrong, request = {**CANDIDATE, "kind": "veiw"}, {"session": 7, "candidates": [CANDIDATE]}
    answers = ask_all(
        [
            ("POST", "/v1/events", event(kind="veiw")),
            ("POST", "/v1/events", [event(), event(kind="veiw")]),
            ("POST", "/v1/score", {**request, "candidates": [CANDIDATE, wrong]}),
            ("POST", "/v1/explain", {**request, "candidates": [wrong]}),
            ("POST", "/v1/score", {**request, "on_bad_candidate": "skipp"}),
        ]
    )
    errors = [answer.json()["error"] for answer in answers]
    values = "did you mean `view`? It takes: `order`, `view`"
    assert all("it is 'order' or 'view'" in one["reason"] for one in errors[:2])
    assert {one["reason"] for one in errors[2:4]} == {f"Invalid enum value 'veiw'; {values}"}
    places = ["kind", "events[1].kind", "candidates[1].kind", "candidates[0].kind"]
    assert [one["field"] for one in errors[:4]] == places
    assert errors[4]["reason"].endswith("did you mean `skip`? It takes: `fail`, `skip`")
    skipped = {**request, "candidates": [wrong, CANDIDATE], "on_bad_candidate": "skip"}
    (left_out,) = ask("POST", "/v1/score", skipped).json()["skipped"]
    assert left_out["reason"].endswith(values)


def test_nothing_is_written_of_a_request_of_which_one_event_has_a_misspelt_field() -> None:
    async def story() -> None:
        endpoint = Endpoint()
        await endpoint.send(("POST", "/v1/events", [event(), event(visit_id="v2", prise=4.0)]))
        assert endpoint.log.end("visits", 0) == 0

    asyncio.run(story())


def test_what_is_no_integer_is_no_key() -> None:
    keys: list[object] = [True, None, 7.5, 2**63, [], ""]
    for key in keys:
        score, written = ask_all(
            [
                ("POST", "/v1/score", {"session": key, "candidates": [CANDIDATE]}),
                ("POST", "/v1/events", event(session=key)),
            ]
        )
        assert (score.status_code, written.status_code) == (422, 422), key
        assert score.json()["error"]["field"] == written.json()["error"]["field"] == "session"


def test_the_document_names_both_forms_of_an_integer_key() -> None:
    document = ask("GET", "/openapi.json").json()
    key = document["components"]["schemas"]["ScoreRequest"]["properties"]["session"]
    assert [form["type"] for form in key["anyOf"]] == ["integer", "string"]
    posted = document["paths"]["/v1/events"]["post"]["requestBody"]["content"]
    named = posted["application/json"]["schema"]["anyOf"][0]["$ref"].rpartition("/")[2]
    one_event = document["components"]["schemas"][named]
    assert one_event["properties"]["session"]["anyOf"] == key["anyOf"]
    (_, parameter) = document["paths"]["/v1/features/{entity}/{id}"]["get"]["parameters"]
    assert parameter["schema"]["pattern"] == key["anyOf"][1]["pattern"]


VALUES: list[tuple[str, object, bool]] = [
    ("kind", "order", True),
    ("kind", "buy", False),
    ("kind", None, False),
    ("gift", True, True),
    ("gift", False, True),
    ("gift", 1, False),
    ("price", None, True),
    ("price", 2, True),
    ("price", "2", False),
    ("price", True, False),
    ("item", "", True),
    ("item", "x" * 300, True),
    ("item", 5, False),
    ("code", "", True),
    ("code", "abcd", True),
    ("code", "abcde", False),
    ("code", None, False),
]


class Listening(Visit, kw_only=True):
    item: str


class Ware(msgspec.Struct):
    item: str
    size: int
    genre: Literal["rock", "jazz"] = "rock"
    explicit: bool = False
    tags: list[str] = []
    moods: list[Literal["calm"]] = []


listening = Stream("listening", id="visit_id", time="at", key=session, schema=Listening)


class Listened(FeatureView):
    entity, source = session, listening
    seen = Count(windows=["1h"])


def test_a_catalogue_with_free_fields_beside_listed_ones_is_served_and_described() -> None:
    wares = Table("wares", key=Entity("ware", key="item"), schema=Ware)
    shop = Pipeline(
        "listening",
        stream=listening,
        tables=[wares],
        features=[Listened],
        context=["item", wares.size],
        label=pipeline.label,
        model=LogisticRegression(),
        candidates=[Newest()],
    )

    async def document() -> Any:
        async with local_endpoint(shop, World(MemoryLog(1), FakeClock(START_MS))) as (_, client):
            return (await client.get("/openapi.json")).json()

    filters = asyncio.run(document())["components"]["schemas"]["Filters"]["properties"]
    assert set(filters) == set(Ware.__struct_fields__)


def test_structs_of_one_name_are_served_and_described_each() -> None:
    inner = msgspec.defstruct("Listening", [("device", str)])
    further = msgspec.defstruct("Listening", [("place", str)])
    fields = [("inner", inner | None, None), ("further", further | None, None)]
    schema = msgspec.defstruct("Listening", fields, bases=(Listening,), kw_only=True)
    nested = Stream("nested", id="visit_id", time="at", key=session, schema=schema)
    view = type(
        "Nested",
        (FeatureView,),
        {"entity": session, "source": nested, "seen": Count(windows=["1h"])},
    )
    shop = replace(pipeline, stream=nested, streams=(), features=[view], context=["item"])

    async def document() -> Any:
        async with local_endpoint(shop, World(MemoryLog(1), FakeClock(START_MS))) as (_, client):
            return (await client.get("/v1/pipeline")).json()

    described = asyncio.run(document())["event_schema"]
    referred = {
        name: described["properties"][name]["anyOf"][0]["$ref"].rpartition("/")[2]
        for name in ("inner", "further")
    }
    assert list(described["$defs"][referred["inner"]]["properties"]) == ["device"]
    assert list(described["$defs"][referred["further"]]["properties"]) == ["place"]


def test_a_candidate_is_checked_as_an_event_is() -> None:
    requests: list[tuple[str, str, Any]] = []
    for field, value, _ in VALUES:
        candidates = [CANDIDATE, {**CANDIDATE, field: value}]
        requests.append(("POST", "/v1/events", event(**{field: value})))
        requests.append(("POST", "/v1/score", {"session": 7, "candidates": candidates}))
    answers = ask_all(requests)
    for begin, (field, value, valid) in zip(range(0, len(answers), 2), VALUES, strict=True):
        written, scored = answers[begin : begin + 2]
        status = 200 if valid else 422
        assert (written.status_code, scored.status_code) == (status, status), (field, value)
        if not valid:
            assert scored.json()["error"]["field"] == f"candidates[1].{field}"


@pytest.mark.parametrize("candidate", [{}, {"item": None}])
def test_the_item_that_is_joined_has_to_be_named(candidate: dict[str, Any]) -> None:
    """An event may have no item; a candidate without one could never become positive."""
    body = {"session": 7, "candidates": [candidate]}
    assert ask("POST", "/v1/score", body).status_code == 422


def test_fields_that_are_renamed_have_their_names_of_json_wherever_requests_name_them() -> None:
    class Play(msgspec.Struct, rename="camel"):
        play_id: str
        listener_id: int
        song_id: str
        played_at: int

    listener = Entity("listener", key="listener_id")
    plays = Stream("plays", id="play_id", time="played_at", key=listener, schema=Play)
    view = type(
        "Plays",
        (FeatureView,),
        {"entity": listener, "source": plays, "played": Count(windows=["1h"])},
    )
    label = Joined(positive=col.song_id == "x", on="song_id", within="1m")
    renamed = replace(
        pipeline, stream=plays, streams=(), features=[view], context=["song_id"], label=label
    )
    system = LocalSystem(renamed, Settings(), World(MemoryLog(1), FakeClock(START_MS)))
    described = system.replica.describe()
    assert described.candidate == {"songId": "str"}
    assert described.samples["automatic"] == {
        "id": "playId",
        "time": "playedAt",
        "key": "listenerId",
    }
    assert described.samples["time_unit"] == "ms"
    body = b'{"listener": 7, "candidates": [{"songId": "x"}]}'
    assert system.replica.decoder.decode(body).columns == {"song_id": ["x"]}
    with pytest.raises(ConfigError, match="Did you mean 'play_id'"):
        Stream("plays", id="playId", time="played_at", key=listener, schema=Play)


def test_what_a_candidate_leaves_out_is_what_an_event_would_have() -> None:
    async def story() -> tuple[bytes, bytes]:
        endpoint = Endpoint()
        whole = {"item": "a", "kind": "view", "gift": False, "price": None, "code": ""}
        candidates = [CANDIDATE, whole]
        await endpoint.send(("POST", "/v1/score", {"session": 7, "candidates": candidates}))
        (value,) = endpoint.log.read("visits.impressions", 0, 0, 9).values
        impression = decode_impression(value or b"")
        assert impression.join_keys == hash_text("a").to_bytes(8, "little", signed=True) * 2
        middle = len(impression.ids) // 2
        return impression.ids[:middle], impression.ids[middle:]

    short, long = asyncio.run(story())
    assert short == long
