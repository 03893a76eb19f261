"""The life of a replica: it starts, follows the learner, posts its status, waits, and stops."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import numpy as np
import pytest
from fake_clock import FakeClock, ManualClock, settle
from fake_retriever import FakeRetriever
from http_calls import candidates, get, score, talk
from serving import FakeModel, FakeScorer, ReplicaUnderTest, TwoTables

from freshrank.actors.clock import SystemClock
from freshrank.actors.errors import RequestError, StaleParameters, Unavailable
from freshrank.actors.messages import Inputs, Version
from freshrank.actors.parameters.explanation import Explanation
from freshrank.feature_actors.connectors.in_memory.stores import MemoryStatusRegistry
from freshrank.serve.scoring.served_model import ServedModel


class AgeingModel(FakeModel):
    """Each wait brings the next version, younger by `gain` ms, until `last`."""

    def __init__(self, clock: FakeClock, gain: int, last: Version) -> None:
        super().__init__()
        self._clock, self._gain, self._last = clock, gain, last
        self.age = 100

    async def wait_for(self, version: Version, timeout_s: float) -> None:
        assert self.version is not None and self.age is not None
        if version > self._last:
            self._clock.advance(timeout_s)
            raise StaleParameters(f"{version} is wanted")
        self.version, self.age = version, self.age - self._gain


def test_a_wait_for_an_age_ends_with_the_first_version_that_is_young_enough() -> None:
    clock = FakeClock()
    model = AgeingModel(clock, gain=30, last=Version(1, 99))
    asyncio.run(ServedModel(FakeScorer(), model, clock, 0).wait_for_age(50, 1.0))
    assert (model.version, model.age) == (Version(1, 7), 40)


def test_a_wait_for_an_age_times_out_with_an_error_that_names_the_field() -> None:
    clock = FakeClock()
    model = AgeingModel(clock, gain=10, last=Version(1, 6))
    with pytest.raises(RequestError) as caught:
        asyncio.run(ServedModel(FakeScorer(), model, clock, 0).wait_for_age(50, 1.0))
    assert caught.value.field == "max_model_age_ms"
    assert clock.monotonic() == 1.0


class EndingModel(FakeModel):
    async def run(self) -> None:
        raise ValueError("a delta of another model")


def test_a_replica_that_no_longer_follows_the_learner_is_unhealthy_with_the_reason() -> None:
    replica = ReplicaUnderTest(model=EndingModel())

    async def story() -> tuple[int, str]:
        async with replica.client() as client:
            await settle()
            answer = await client.get("/healthz")
            return answer.status_code, answer.json()["reason"]

    status, reason = asyncio.run(story())
    assert status == 503
    assert "a delta of another model" in reason


def test_a_replica_that_stops_flushes_and_ends_its_tasks(replica: ReplicaUnderTest) -> None:
    async def story() -> int:
        async with replica.client():
            assert not replica.closed
        return len(asyncio.all_tasks())

    assert asyncio.run(story()) == 1
    assert replica.closed


def test_each_replica_posts_its_status_and_shows_those_of_the_others(
    replica: ReplicaUnderTest,
) -> None:
    other = ReplicaUnderTest(status_registry=replica.status_registry)

    async def story() -> dict[str, dict[str, object]]:
        async with replica.client() as client, other.client() as second:
            for _ in range(3):
                body = {"user": "u", "candidates": candidates(1)}
                await client.post("/v1/score", json=body)
            status: dict[str, dict[str, object]] = (await second.get("/v1/status")).json()
            return status

    status = asyncio.run(story())
    assert status["replica"]["requests"] == 0
    assert [part for part in status if part.startswith("replica-")] == [
        f"replica-{replica.service.id}"
    ]


def test_the_status_of_a_replica_that_stops_is_withdrawn_at_once() -> None:
    replica = ReplicaUnderTest(status_registry=MemoryStatusRegistry(SystemClock()))

    async def story() -> tuple[set[str], set[str]]:
        async with replica.client():
            await asyncio.sleep(0)
            there = set(await replica.status_registry.collect())
        return there, set(await replica.status_registry.collect())

    assert asyncio.run(story()) == ({f"replica-{replica.service.id}"}, set())


def test_a_stop_goes_on_where_no_status_can_be_withdrawn() -> None:
    class Away(MemoryStatusRegistry):
        async def withdraw(self, part: str) -> None:
            raise Unavailable("statuses", "no answer")

    replica = ReplicaUnderTest(status_registry=Away(SystemClock()))

    async def story() -> None:
        async with replica.client():
            await asyncio.sleep(0)

    asyncio.run(story())
    assert replica.closed


def test_the_status_counts_scores_and_their_time(replica: ReplicaUnderTest) -> None:
    async def story() -> dict[str, object]:
        async with replica.client() as client:
            for body in ({"user": "u", "candidates": candidates(1)}, {}):
                await client.post("/v1/score", json=body)
            figures: dict[str, object] = (await client.get("/v1/status")).json()["replica"]
            return figures

    figures = asyncio.run(story())
    assert figures["requests"] == 1
    latency = figures["latency"]
    assert isinstance(latency, dict) and latency["count"] == 1


def test_the_status_names_the_inputs_that_matter_in_the_scores_of_late(
    replica: ReplicaUnderTest,
) -> None:
    replica.store.kept[b"row:u1"] = b"4"
    score(replica, candidates=candidates(4))
    status = get(replica, "/v1/status").json()["replica"]
    assert status["importance"] == [
        {"input": "wanted", "size": pytest.approx(0.8)},
        {"input": "item_id", "size": 0.0},
    ]
    assert status["explain_error"] is None


def rows(*wanted: float) -> Inputs:
    dense = np.array(wanted, np.float32)[:, None]
    return Inputs(dense, np.zeros((len(dense), 1), np.int64))


def test_of_each_new_request_one_row_tells_what_matters() -> None:
    model = ServedModel(FakeScorer(), FakeModel(), FakeClock(), 0)
    assert model.importance() == {}
    model.newest = rows(-1.0)
    for _ in range(2):
        assert model.importance() == {"wanted": pytest.approx(0.8), "item_id": 0.0}
    model.newest = rows(1.0, 0.0)
    assert model.importance()["wanted"] == pytest.approx(0.4, rel=0.02)
    model.newest = rows()
    assert model.importance()["wanted"] == pytest.approx(0.4, rel=0.02)


class Slow(FakeScorer):
    def __init__(self, clock: FakeClock) -> None:
        self._clock = clock
        self.explained = 0

    def explain(self, inputs: Inputs) -> Iterator[Explanation]:
        self.explained += 1
        self._clock.advance(0.01)
        return super().explain(inputs)


def test_what_takes_long_to_explain_is_explained_less_often() -> None:
    clock = FakeClock()
    scorer = Slow(clock)
    model = ServedModel(scorer, FakeModel(), clock, 0)
    for _ in range(25):
        model.newest = rows(1.0)
        model.importance()
        clock.advance(1.0)
    assert scorer.explained == 3


class Unexplained(FakeScorer):
    def explain(self, inputs: Inputs) -> Iterator[Explanation]:
        raise ZeroDivisionError("no slope")


def test_a_model_that_cannot_be_explained_scores_and_its_status_says_why(
    replica: ReplicaUnderTest,
) -> None:
    replica.service.model = ServedModel(Unexplained(), replica.model, SystemClock(), 0)
    assert score(replica).status_code == 200
    status = get(replica, "/v1/status").json()["replica"]
    assert status["importance"] == []
    assert replica.service.model.explain_error == "ZeroDivisionError: no slope"


def test_the_own_status_is_shown_without_the_status_registry(
    replica: ReplicaUnderTest, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def stuck() -> dict[str, dict[str, object]]:
        raise TimeoutError

    monkeypatch.setattr(replica.status_registry, "collect", stuck)
    status = get(replica, "/v1/status").json()
    assert status["statuses"] == {"error": "no answer"}
    assert "model" in status["replica"]


def test_an_unexpected_error_of_the_store_fails_the_requests_of_its_read_only(
    replica: ReplicaUnderTest, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def story() -> None:
        reader = replica.service.reader
        with monkeypatch.context() as broken:
            broken.setattr(replica.store, "read", None)
            with pytest.raises(TypeError):
                await reader.read([b"k"])
        assert (await reader.read([b"k"]))[0].source == "new"
        assert reader.error is None

    asyncio.run(story())


def test_rows_of_who_asks_and_of_the_candidates_come_by_one_read() -> None:
    replica = ReplicaUnderTest(features=TwoTables())
    replica.store.kept = {b"user:u1": b"70", b"item:3": b"30", b"item:5": b"70"}
    answer = score(replica, candidates=candidates(5, 3, 5, 4)).json()
    assert replica.store.reads == [[b"user:u1", b"item:3", b"item:4", b"item:5"]]
    assert answer["scores"] == [0.9, 0.1, 0.9, 0.1]
    assert answer["features"]["source"] == "online"
    assert answer["features"]["offset"] == 7
    assert answer["candidate_rows"] == {
        "catalogue": {"source": "online", "missing": [3], "copy_age_ms": 0}
    }
    counted = talk(replica, lambda client: client.get("/metrics")).text
    assert 'freshrank_candidate_rows_total{outcome="found",table="catalogue"} 3.0' in counted
    assert 'freshrank_candidate_rows_total{outcome="missing",table="catalogue"} 1.0' in counted


def test_features_are_shown_of_every_kind_of_entity_that_has_rows() -> None:
    replica = ReplicaUnderTest(features=TwoTables())
    replica.store.kept = {b"item:5": b"70"}
    assert get(replica, "/v1/features/item/5").json()["features"] == {"favourite": 70}
    problem = get(replica, "/v1/features/shop/5")
    assert problem.status_code == 404
    assert "only 'user', 'item'" in problem.text


def test_the_pipeline_is_described_for_callers(replica: ReplicaUnderTest) -> None:
    answer = talk(replica, lambda client: client.get("/v1/pipeline")).json()
    assert answer["entity"] == "user"
    assert answer["candidate"] == {"item_id": "int", "note": "str", "price": "float"}
    assert answer["bounds"]["candidates"] == 1_000


def readiness(model: FakeModel) -> dict[str, str]:
    return asyncio.run(ReplicaUnderTest(model=model).service.readiness())


def test_a_new_replica_is_not_ready_before_its_weights_are_close_to_the_learners() -> None:
    model = FakeModel()
    replica = ReplicaUnderTest(model=model).service
    model.lag = None
    assert asyncio.run(replica.readiness()) == {"model": "no weights have arrived yet"}
    model.lag = 1_001
    missing = asyncio.run(replica.readiness())
    assert missing == {"model": "1001 ms behind the learner, at most 1000 at the start"}
    model.lag = 1_000
    assert asyncio.run(replica.readiness()) == {}
    model.lag = 60_000
    assert asyncio.run(replica.readiness()) == {}, "from there on the age of the weights tells"


def without_weights() -> FakeModel:
    model = FakeModel()
    model.version = None
    return model


def test_a_replica_is_not_started_before_weights_and_store_are_there() -> None:
    async def story() -> int:
        clock = ManualClock()
        replica = ReplicaUnderTest(model=without_weights(), clock=clock, max_start_wait_ms=10_000)
        replica.store.away = True
        started = asyncio.Event()

        async def first_request() -> int:
            async with replica.client() as client:
                started.set()
                return (await client.get("/readyz")).status_code

        asking = asyncio.create_task(first_request())
        await settle()
        await clock.tick(1.0)
        replica.model.version = Version(1, 0)
        await clock.tick(1.0)
        assert not started.is_set()
        replica.store.away = False
        await clock.tick(1.0)
        assert started.is_set()
        return await asking

    assert asyncio.run(story()) == 200


def test_without_a_learner_a_replica_starts_after_its_longest_wait() -> None:
    clock = FakeClock()
    replica = ReplicaUnderTest(model=without_weights(), clock=clock, max_start_wait_ms=10_000)
    asyncio.run(replica.service.until_ready())
    assert 10.0 <= clock.monotonic() <= 10.1


def test_a_replica_that_has_all_that_it_needs_starts_at_once() -> None:
    clock = FakeClock()
    asyncio.run(ReplicaUnderTest(clock=clock, max_start_wait_ms=10_000).service.until_ready())
    assert clock.monotonic() == 0.0


def test_a_replica_whose_weights_differ_from_the_learners_is_not_ready() -> None:
    model = FakeModel()
    assert readiness(model) == {}
    model.differs, model.error = True, "1.4 -> 1.5 does not give 00ff"
    assert "the weights differ from the learner's" in readiness(model)["model"]
    assert "1.4 -> 1.5" in readiness(model)["model"]


def test_a_replica_that_no_longer_follows_the_catalogue_is_unhealthy_with_the_reason() -> None:
    retriever = FakeRetriever({})
    retriever.ends_with = ValueError("the topic is another")
    replica = ReplicaUnderTest(retriever=retriever)

    async def story() -> tuple[int, str]:
        async with replica.client() as client:
            await settle()
            answer = await client.get("/healthz")
            return answer.status_code, answer.json()["reason"]

    status, reason = asyncio.run(story())
    assert status == 503
    assert reason == "following the catalogue ended: the topic is another"


def test_a_replica_that_stops_no_longer_follows_the_catalogue() -> None:
    retriever = FakeRetriever({})
    replica = ReplicaUnderTest(retriever=retriever)

    async def story() -> int:
        async with replica.client():
            await settle()
            assert not retriever.cancelled
        return len(asyncio.all_tasks())

    assert asyncio.run(story()) == 1
    assert retriever.cancelled


def test_a_replica_is_not_ready_before_its_catalogue() -> None:
    retriever = FakeRetriever({})
    replica = ReplicaUnderTest(retriever=retriever).service
    assert asyncio.run(replica.readiness()) == {}
    retriever.missing = "3 records behind"
    assert asyncio.run(replica.readiness()) == {"catalogue": "3 records behind"}
