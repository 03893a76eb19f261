"""Much bad input: nothing stops, nothing vanishes, and every answer is one that is described."""

from __future__ import annotations

import asyncio
import gc
import tracemalloc
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, cast

import pytest
from fake_clock import FakeClock
from fake_retriever import FakeRetriever, item
from serving import FakeFeatures, ReplicaUnderTest
from small_shop import START_MS
from starlette.applications import Starlette

from freshrank.actors.messages import Inputs
from freshrank.actors.records import RejectedRecord
from freshrank.benchmarks.fuzz.api import fuzz_api
from freshrank.benchmarks.fuzz.bench import (
    PARTITIONS,
    RecordFuzzResult,
    consume,
    fill,
    fuzz_endpoint,
    fuzz_recommendations,
)
from freshrank.benchmarks.fuzz.impressions import impressions
from freshrank.benchmarks.fuzz.records import UNKNOWN_FIELDS, USERS, events
from freshrank.benchmarks.workloads.record_accounting import (
    Disposition,
    RecordPosition,
    SentRecord,
    fuzz_pipeline,
    unaccounted,
)
from freshrank.deploy.wiring.local import World
from freshrank.feature_actors.connectors.in_memory.log import MemoryLog
from freshrank.serve.app import build_app
from freshrank.serve.scoring.service import ScoringService


def application(replica: ReplicaUnderTest) -> Starlette:
    async def made() -> ScoringService:
        return replica.service

    return build_app(made)


@pytest.mark.repeats
@pytest.mark.parametrize("part", range(2))
def test_requests_that_the_document_suggests_are_answered_as_it_says(part: int) -> None:
    """Few of them, for the sake of time: the bench `fuzz` sends ten thousand."""
    asked = fuzz_api(application(ReplicaUnderTest()), cases=150, number=part)
    assert asked.problems == []
    assert (asked.cases, asked.server_errors, asked.violations) == (150, 0, 0)


def test_requests_for_items_are_sent_where_there_is_a_catalogue() -> None:
    retriever = FakeRetriever({str(key): item("ab"[key % 2]) for key in range(9)})
    asked = fuzz_api(application(ReplicaUnderTest(retriever=retriever)), cases=200, number=1)
    assert asked.problems == []
    assert (asked.cases, asked.server_errors, asked.violations) == (200, 0, 0)
    assert any(query.rows for query in retriever.queries)
    assert any(query.filters for query in retriever.queries)


def test_what_the_endpoint_of_a_real_pipeline_took_is_what_the_shards_take() -> None:
    asked, written = fuzz_endpoint(cases=40)
    assert asked.problems == []
    assert written.problems == []
    assert written.totals["events"] > 0
    assert written.totals["impressions"] > 0


def test_the_endpoint_of_a_pipeline_with_a_catalogue_answers_as_its_document_says() -> None:
    asked = fuzz_recommendations(cases=80)
    assert asked.problems == []
    assert (asked.cases, asked.server_errors, asked.violations) == (80, 0, 0)


class BrokenFeatures(FakeFeatures):
    def inputs(self, *arguments: Any) -> Inputs:
        raise ZeroDivisionError


def test_a_fault_of_ours_is_seen() -> None:
    asked = fuzz_api(application(ReplicaUnderTest(features=BrokenFeatures())), cases=60, number=1)
    assert asked.server_errors > 0
    assert "ZeroDivisionError" in asked.problems[0]


def test_a_document_that_promises_too_little_is_seen() -> None:
    replica = ReplicaUnderTest()
    replica.model.age = cast(Any, "young")  # the document says: a number
    asked = fuzz_api(application(replica), cases=60, number=1)
    assert asked.violations > 0


def corpus(seed: int, rounds: int) -> tuple[World, dict[RecordPosition, SentRecord]]:
    made, clock = fuzz_pipeline(), FakeClock(START_MS)
    log, now_ms = MemoryLog(PARTITIONS), clock.now_ms()
    sent = fill(log, made.stream.topic, events(seed, now_ms, rounds), now_ms)
    sent |= fill(log, made.impressions_topic, impressions(made, seed, now_ms, rounds), now_ms)
    return World(log, clock), sent


@pytest.fixture(scope="module")
def taken() -> RecordFuzzResult:
    world, sent = corpus(seed=7, rounds=4)
    return asyncio.run(consume(fuzz_pipeline(), world, sent))


def test_every_record_is_taken_by_a_rule_or_lies_in_a_side_topic_with_reason_and_origin(
    taken: RecordFuzzResult,
) -> None:
    assert list(taken.problems) == []
    names = ("events", "duplicates", "late", "dead", "impressions")
    assert sum(taken.totals[name] for name in names) == taken.records
    assert all(taken.totals[name] for name in names)


def test_no_reason_is_longer_than_a_header_may_be(taken: RecordFuzzResult) -> None:
    assert max(len(record.reason.encode()) for _, record in taken.rejected) < 2_000


def test_the_corpus_follows_from_its_seed_and_holds_every_kind() -> None:
    one, same, other = (events(seed, 10**12, large=1_000_001) for seed in (3, 3, 4))
    assert one == same
    assert one != other
    fates = Counter(sent.disposition for sent in one)
    assert set(fates) == set(Disposition)
    assert fates[Disposition.TAKEN] > USERS
    assert len({sent.description for sent in one}) > 80


@pytest.mark.parametrize(
    ("tamper", "said"),
    [
        (lambda rejected: rejected[1:], "it is not in readings.dead"),
        (lambda rejected: [*rejected, rejected[0]], "or is there twice"),
        (lambda rejected: [_changed(rejected[0], reason=""), *rejected[1:]], "has no reason"),
        (lambda rejected: [_changed(rejected[0], value=b"?"), *rejected[1:]], "is another"),
        (lambda rejected: [("readings.late", rejected[0][1]), *rejected[1:]], "it is in readings"),
    ],
)
def test_a_record_that_is_lost_or_changed_does_not_add_up(tamper: Any, said: str) -> None:
    world, sent = corpus(seed=7, rounds=1)
    found = asyncio.run(consume(fuzz_pipeline(), world, sent))
    first = next(i for i, (topic, _) in enumerate(found.rejected) if topic == "readings.dead")
    rejected = [*found.rejected[first:], *found.rejected[:first]]
    assert unaccounted(sent, found.totals, rejected) == []
    assert any(said in line for line in unaccounted(sent, found.totals, tamper(rejected)))


def _changed(one: tuple[str, RejectedRecord], **changes: Any) -> tuple[str, RejectedRecord]:
    return one[0], replace(one[1], **changes)


def memory_kept(records: Sequence[SentRecord]) -> int:
    """Bytes that a system over in-memory stores has allocated and not freed after `records`."""
    pipeline, clock = fuzz_pipeline(), FakeClock(START_MS)
    world = World(MemoryLog(PARTITIONS), clock)
    sent = fill(world.log, pipeline.stream.topic, records, clock.now_ms())
    gc.collect()
    tracemalloc.start()
    try:
        asyncio.run(consume(pipeline, world, sent))
        gc.collect()
        return tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()


def test_memory_does_not_grow_with_the_names_of_unknown_fields() -> None:
    unknown = [one for one in events(5, START_MS) if "unknown" in one.description]
    assert sum(len(one.value or b"") for one in unknown) > 10 * UNKNOWN_FIELDS
    memory_kept(unknown)  # the first run imports modules and loads kernels, which stay
    once = memory_kept(unknown)
    # Both hold the same entities; none of the text of 100,000 more names may stay.
    assert memory_kept([*unknown] * 3) < once + UNKNOWN_FIELDS
