"""The clients, against the real application in this process, and against one that fails."""

from __future__ import annotations

import asyncio
import inspect
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import msgspec
import numpy as np
import pyarrow as pa
import pytest
from documents import blocks
from fake_retriever import FakeRetriever, item
from http_calls import candidates, talk
from serving import ReplicaUnderTest
from sync_replica import sync_transport

from freshrank.actors.errors import ConfigError, RequestError, Unavailable
from freshrank.serve.client import AsyncClient, Client
from freshrank.serve.client.exchange import Patience

URL = "http://localhost"


@pytest.fixture
def replica() -> ReplicaUnderTest:
    made = ReplicaUnderTest(retriever=FakeRetriever({str(key): item() for key in range(3, 7)}))
    made.store.kept[b"row:u1"] = b"4"
    return made


@pytest.fixture
def client(replica: ReplicaUnderTest) -> Iterator[Client]:
    with sync_transport(replica) as transport:
        yield Client(URL, http=httpx.Client(transport=transport))


def table_of(*items: int) -> pa.Table:
    return pa.table({"item_id": items, "note": ["n"] * len(items), "price": [1.5] * len(items)})


def request_ids(replica: ReplicaUnderTest) -> list[str]:
    return [one.request_id for one in replica.impressions()]


def test_each_method_gives_the_answer_of_its_route(client: Client) -> None:
    scored = client.score("u1", candidates(3, 4), show=1)
    assert (scored.scores, scored.ranking) == ([0.1, 0.9], [1, 0])
    both = client.score_batch([("u1", candidates(4)), ("u2", candidates(4))], show=0)
    assert [one.answer and one.answer.scores for one in both.answers] == [[0.9], [0.1]]
    found = client.recommend("u1", k=2, pages=2, exclude_seen=False, filters={"brand": "a"})
    assert [one.id for one in found.items] == [4, 3]
    assert found.next is not None
    assert [one.id for one in client.next_page(found.next, explain=1).items] == [5, 6]
    assert [one.id for one in client.similar([3], k=1).items] == [4]
    (explained,) = client.explain("u1", candidates(4)).candidates
    assert explained is not None and explained.score == 0.9
    assert client.send_events([{"user_id": "u1"}, {"user_id": "u2"}]).accepted == 2
    assert client.send_events([{"user_id": "u1"}], stream="behaviour").accepted == 1
    features = client.features("a/b ü")
    assert (features.id, features.source) == ("a/b ü", "new")
    assert client.features("u1", entity="user").features == {"favourite": 4}
    gone = client.forget("a/b ü")
    assert (gone.id, [one.topic for one in gone.positions]) == ("a/b ü", ["behaviour"])
    assert "replica" in client.status()


def test_the_client_for_asyncio_gives_the_same_answers(replica: ReplicaUnderTest) -> None:
    async def story(http: httpx.AsyncClient) -> tuple[Any, ...]:
        async with AsyncClient(URL, http=http) as client:
            scored = await client.score("u1", candidates(3, 4))
            table = await client.score_table("u1", table_of(4, 3))
            both = await client.score_batch([("u1", candidates(4))])
            found = await client.recommend("u1", k=1, pages=2)
            assert found.next is not None
            following = await client.next_page(found.next)
            similar = await client.similar([3], k=1)
            explained = await client.explain("u1", candidates(4))
            written = await client.send_events([{"user_id": "u1"}])
            features = await client.features("u1")
            status = await client.status()
        assert not http.is_closed  # it was given
        return (
            scored.scores,
            table["score"].to_pylist(),
            [one.status for one in both.answers],
            [one.id for one in (*found.items, *following.items)],
            [one.id for one in similar.items],
            len(explained.candidates),
            written.accepted,
            features.features,
            "replica" in status,
        )

    assert talk(replica, story) == (
        [0.1, 0.9],
        [0.9, 0.1],
        [200],
        [3, 6],
        [4],
        1,
        1,
        {"favourite": 4},
        True,
    )


def test_what_is_wrong_is_named_as_the_endpoint_names_it(client: Client) -> None:
    with pytest.raises(RequestError) as caught:
        client.score("u1", [{"item_id": "x", "note": "n", "price": 1.0}])
    assert (caught.value.field, caught.value.status) == ("candidates[0].item_id", 422)
    with pytest.raises(RequestError) as caught:
        client.features("u1", entity="shop")
    assert caught.value.status == 404
    partial = client.score("u1", [{}, *candidates(4)], on_bad_candidate="skip")
    assert partial.scores == [None, 0.9]


class Frame:
    """What the client uses of a `pandas.DataFrame`."""

    def __init__(self, rows: list[dict[str, Any]]) -> None:
        self.rows = rows

    @property
    def columns(self) -> list[str]:
        return list(self.rows[0])

    def to_dict(self, orient: str) -> list[dict[str, Any]]:
        assert orient == "records"
        return self.rows

    def assign(self, **columns: list[Any]) -> Frame:
        (name,) = columns
        both = zip(self.rows, columns[name], strict=True)
        return Frame([{**row, name: value} for row, value in both])


def test_a_column_of_a_table_is_not_replaced_by_scores(client: Client) -> None:
    for table in (table_of(3, 4), Frame(candidates(3, 4))):
        with pytest.raises(ConfigError, match=r"column='price': the table has such a column"):
            client.score_table("u1", table, column="price")


def test_tables_are_taken_and_given_back_with_scores(client: Client) -> None:
    table = table_of(3, 4)
    scored = client.score_table("u1", table, column="p")
    assert scored["p"].to_pylist() == [0.1, 0.9]
    assert scored["item_id"].to_pylist() == [3, 4]
    assert client.score("u1", table).scores == [0.1, 0.9]
    # pandas has NumPy's scalars in its rows.
    rows = [{**one, "item_id": np.int64(one["item_id"])} for one in candidates(3, 4)]
    bad = {"item_id": 5, "note": "n", "price": float("nan")}
    frame = client.score_table("u1", Frame([*rows, bad]), on_bad_candidate="skip")
    assert [row["score"] for row in frame.rows] == [0.1, 0.9, None]


def test_a_value_that_json_lacks_is_an_error(client: Client) -> None:
    with pytest.raises((NotImplementedError, TypeError), match="object"):
        client.score("u1", [{"item_id": object()}])


ANSWER = msgspec.json.encode(
    {
        "request_id": "r", "model": {"version": None, "age_ms": None},
        "features": {"source": "new", "event_time_ms": None, "age_ms": None, "offset": None},
        "scores": [0.5], "ranking": [0],
    }
)  # fmt: skip
BUSY = (503, b'{"error": {"field": "server", "reason": "too many at once"}}')
GOOD = (200, ANSWER)
SILENT = httpx.ConnectError("refused")
SLOW = httpx.ReadTimeout("no answer")
WRONG = b'{"error": {"field": "k", "reason": "r"}}'

Outcome = tuple[int, bytes] | httpx.TransportError


class Endpoint:
    """Gives its outcomes in turn, the last of them again and again."""

    def __init__(self, *outcomes: Outcome) -> None:
        self._outcomes = list(outcomes)
        self.requests: list[httpx.Request] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        outcome = self._outcomes[min(len(self.requests), len(self._outcomes) - 1)]
        self.requests.append(request)
        if isinstance(outcome, httpx.TransportError):
            raise outcome
        return httpx.Response(outcome[0], content=outcome[1])


AT_ONCE = Patience(tries=3, first_pause_s=0.0, longest_pause_s=0.0)


@pytest.fixture(autouse=True)
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Seconds that synchronous clients would have slept."""
    made = list[float]()
    monkeypatch.setattr("time.sleep", made.append)
    return made


def test_pauses_double_up_to_the_longest(pauses: list[float]) -> None:
    endpoint = Endpoint(BUSY, BUSY, BUSY, BUSY, GOOD)
    http = httpx.Client(transport=httpx.MockTransport(endpoint))
    patience = Patience(tries=5, first_pause_s=1.0, longest_pause_s=4.0)
    assert Client(URL, http=http, patience=patience).score("u1", []).scores == [0.5]
    for pause, most in zip(pauses, [1.0, 2.0, 4.0, 4.0], strict=True):
        assert most / 2 <= pause <= most


def sync_scores(endpoint: Endpoint, **options: Any) -> list[float | None]:
    http = httpx.Client(transport=httpx.MockTransport(endpoint))
    return Client(URL, http=http, patience=AT_ONCE, **options).score("u1", []).scores


def async_scores(endpoint: Endpoint, **options: Any) -> list[float | None]:
    async def ask() -> list[float | None]:
        http = httpx.AsyncClient(transport=httpx.MockTransport(endpoint))
        client = AsyncClient(URL, http=http, patience=AT_ONCE, **options)
        return (await client.score("u1", [])).scores

    return asyncio.run(ask())


BOTH = pytest.mark.parametrize("scores", [sync_scores, async_scores])
Scores = Callable[..., list[float | None]]


@BOTH
def test_a_request_is_tried_again_with_the_same_idempotency_key(scores: Scores) -> None:
    endpoint = Endpoint(BUSY, SILENT, GOOD)
    assert scores(endpoint, api_key="secret") == [0.5]
    assert len(endpoint.requests) == 3
    keys = {one.headers["idempotency-key"] for one in endpoint.requests}
    assert len(keys) == 1
    assert {one.headers["authorization"] for one in endpoint.requests} == {"Bearer secret"}
    assert {one.content for one in endpoint.requests} == {b'{"user":"u1","candidates":[]}'}
    other = Endpoint(GOOD)
    scores(other, entity="shopper")
    assert other.requests[0].headers["idempotency-key"] not in keys
    assert other.requests[0].content == b'{"shopper":"u1","candidates":[]}'
    assert "authorization" not in other.requests[0].headers


@BOTH
@pytest.mark.parametrize(
    ("outcome", "part", "reason"),
    [
        (BUSY, "server", "too many at once"),
        (SILENT, "endpoint", "no answer from /v1/score: ConnectError: refused"),
        (SLOW, "endpoint", "no answer from /v1/score: ReadTimeout: no answer"),
    ],
)
def test_after_the_last_try_the_error_says_why(
    scores: Scores, outcome: Outcome, part: str, reason: str
) -> None:
    endpoint = Endpoint(outcome)
    with pytest.raises(Unavailable) as caught:
        scores(endpoint)
    assert (caught.value.part, caught.value.reason) == (part, reason)
    assert len(endpoint.requests) == 3


@BOTH
@pytest.mark.parametrize(
    ("answer", "kind", "field"),
    [
        ((422, WRONG), RequestError, "k"),
        ((500, WRONG), Unavailable, "k"),
        ((502, b"<html>Bad Gateway"), Unavailable, "502 <html>Bad Gateway"),
        ((400, b"<html>"), RequestError, "400 <html>"),
    ],
)
def test_other_errors_are_not_tried_again(
    scores: Scores, answer: Outcome, kind: type[Exception], field: str
) -> None:
    endpoint = Endpoint(answer)
    with pytest.raises(kind, match=field):
        scores(endpoint)
    assert len(endpoint.requests) == 1


def test_what_is_tried_again_is_logged_once(replica: ReplicaUnderTest) -> None:
    class Losing(httpx.BaseTransport):
        """Loses the first answer on its way back."""

        def __init__(self, whole: httpx.BaseTransport) -> None:
            self._whole = whole
            self._requests = 0

        def handle_request(self, request: httpx.Request) -> httpx.Response:
            answer = self._whole.handle_request(request)
            self._requests += 1
            if self._requests == 1:
                raise SLOW
            return answer

    with sync_transport(replica) as transport:
        lossy = httpx.Client(transport=Losing(transport))
        found = Client(URL, http=lossy, patience=AT_ONCE).recommend("u1")
    assert request_ids(replica) == [found.request_id]


def test_the_example_of_the_page_runs(
    replica: ReplicaUnderTest, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    root = Path(__file__).parents[4]
    page = (root / "docs" / "client.md").read_text(encoding="utf-8")
    samples = blocks(root, "py", "docs/client.md")
    examples = [one.text for one in samples if "grpc" not in one.text]
    methods = set(
        re.findall(r"`(\w+)\(", "".join(re.findall(r"^\| (`.*?) \|", page, re.MULTILINE)))
    )
    called = set(re.findall(r"shop\.(\w+)\(", "".join(examples)))
    for kind in (Client, AsyncClient):
        public = {name for name in vars(kind) if not name.startswith("_")}
        assert public - methods == public - called == {"close"}
    opened = httpx.Client
    with sync_transport(replica) as transport:
        monkeypatch.setattr("httpx.Client", lambda **_: opened(transport=transport))
        for example in examples:
            exec(example, {})
    assert "[0.1, None] [SkippedCandidate(index=1" in capsys.readouterr().out


def test_both_clients_have_the_same_methods_with_the_same_arguments() -> None:
    def described(kind: type) -> dict[str, inspect.Signature]:
        public = {name: one for name, one in vars(kind).items() if not name.startswith("_")}
        return {name: inspect.signature(one) for name, one in public.items()}

    assert described(Client) == described(AsyncClient)


def test_one_event_and_one_candidate_need_no_list(client: Client) -> None:
    assert client.send_events({"user_id": "u1"}).accepted == 1
    (one,) = candidates(4)
    assert client.score("u1", one).scores == [0.9]


@pytest.mark.parametrize("request_of", [{"user": "u1", "candidates": []}, "u1", ("u1",)])
def test_a_batch_of_what_are_no_pairs_is_refused_with_the_form(
    client: Client, request_of: Any
) -> None:
    with pytest.raises(TypeError, match=r'as in score_batch\(\[\("u1", \[\{"item_id": 3\}\]\)'):
        client.score_batch([request_of])


@pytest.mark.parametrize("kind", [Client, AsyncClient])
def test_an_endpoint_without_a_scheme_is_refused_at_once(
    kind: type[Client] | type[AsyncClient],
) -> None:
    with pytest.raises(ConfigError, match="Write http://localhost:8000, or https://"):
        kind("localhost:8000")


def test_a_client_closes_what_it_opened_itself() -> None:
    given = httpx.Client()
    with Client(URL, http=given):
        pass
    assert not given.is_closed
    given.close()
    own = Client(URL, patience=AT_ONCE)
    own.close()
    with pytest.raises(RuntimeError, match="closed"):
        own.status()

    async def closed() -> None:
        client = AsyncClient(URL)
        await client.close()
        with pytest.raises(RuntimeError, match="closed"):
            await client.status()

    asyncio.run(closed())
