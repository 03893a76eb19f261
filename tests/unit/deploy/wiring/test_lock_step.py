from __future__ import annotations

import asyncio

import numpy as np
from small_shop import START_MS, event, impression, spec
from source_offsets import upto

from freshrank.actors.messages import BEGINNING, SourceOffsets
from freshrank.deploy.wiring.lock_step import BatchSource, BatchStep, DeterministicBatches
from freshrank.feature_actors.connectors.in_memory.log import MemoryLog
from freshrank.feature_actors.partition.partition import PartitionState

MADE = spec()
TOPICS = MADE.topics


def log(events_ms: list[int], shown_ms: list[int], partition: int = 0) -> MemoryLog:
    made = MemoryLog(partitions=2)
    fill(made, partition, events_ms, shown_ms)
    return made


def fill(made: MemoryLog, partition: int, events_ms: list[int], shown_ms: list[int]) -> None:
    for number, at_ms in enumerate(events_ms):
        record = event(number, f"u{partition}", "order", 1, at_ms)
        made.append("events", partition, record, START_MS + at_ms)
    for number, at_ms in enumerate(shown_ms):
        record = impression(MADE, f"u{partition}", [1], at_ms, number)
        made.append("shown", partition, record, START_MS + at_ms)


def chain(batches: DeterministicBatches, partition: int = 0) -> list[SourceOffsets]:
    """The ends of all batches."""
    found: list[SourceOffsets] = []
    end: SourceOffsets | None = BEGINNING
    while end is not None and (end := batches.end(partition, end)) is not None:
        found.append(end)
    return found


def test_a_batch_is_a_number_of_events_and_the_impressions_up_to_the_last_of_them() -> None:
    batches = DeterministicBatches(log([10, 20, 30, 40, 50], [5, 20, 25, 60]), TOPICS, size=2)
    assert chain(batches) == [upto(2, 2), upto(4, 3), upto(5, 4)]


def test_the_last_batch_ends_where_the_log_does() -> None:
    assert chain(DeterministicBatches(log([10, 20], [99]), TOPICS, size=2)) == [upto(2, 1)]
    assert chain(DeterministicBatches(log([], [99]), TOPICS, size=2)) == [upto(0, 1)]
    assert chain(DeterministicBatches(log([], []), TOPICS, size=2)) == []


def test_offsets_within_a_batch_lead_to_its_end() -> None:
    batches = DeterministicBatches(log([10, 20, 30, 40, 50], [5, 20, 25, 60]), TOPICS, size=2)
    assert batches.end(0, upto(1)) == upto(2, 2)


def test_the_first_batch_comes_first_then_the_first_partition() -> None:
    made = log([10, 20, 30, 40], [])
    fill(made, 1, [10, 20, 30], [])
    batches = DeterministicBatches(made, TOPICS, size=2)
    states = [PartitionState(MADE, partition) for partition in (0, 1)]
    order = []
    while (step := batches.next_step(states)) is not None:
        order.append((step.batch, step.partition))
        assert step.until is not None
        state = states[step.partition]
        state.process(made.read("events", step.partition, state.offsets["events"], 2))
    assert order == [(0, 0), (0, 1), (1, 0), (1, 1)]


def test_an_offset_range_that_the_learner_lacks_is_given_before_anything_is_read() -> None:
    made = log([10, 20, 30, 40], [10])
    batches = DeterministicBatches(made, TOPICS, size=2)
    state = PartitionState(MADE, 0)
    state.process(made.read("events", 0, 0, 2))
    state.process(made.read("shown", 0, 0, 1))
    assert batches.next_step([state]) == BatchStep(0, 0, None)


def test_a_source_gives_the_whole_step_and_nothing_without_one() -> None:
    async def test() -> None:
        source = BatchSource(log([10, 20, 30], [5, 15]), TOPICS)
        await source.start({("events", 0): None, ("shown", 0): 1})
        assert await source.poll(1, 0.0) == []
        source.give(BatchStep(0, 0, upto(2, 2)))
        events, shown = await source.poll(1, 0.0)
        assert (events.topic, events.offsets.tolist()) == ("events", [0, 1])
        assert (shown.topic, shown.offsets.tolist()) == ("shown", [1])
        assert await source.poll(1, 0.0) == []
        source.give(BatchStep(0, 0, None))
        assert await source.poll(1, 0.0) == []
        assert (await source.lag())["events", 0] == 1

    asyncio.run(test())


def test_the_first_record_after_a_time_is_found() -> None:
    made = log([10, 30, 20], [])
    assert made.first_after("events", 0, 0, START_MS + 10) == 1
    assert made.first_after("events", 0, 2, START_MS + 25) == 3
    assert np.all(made.read("events", 0, 1, 1).timestamps_ms > START_MS + 10)
