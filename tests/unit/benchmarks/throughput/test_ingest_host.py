"""The process of the throughput benches, as far as it needs no server."""

from __future__ import annotations

import asyncio
from pathlib import Path

import numpy as np
import pytest

from freshrank.benchmarks.throughput.ingest_host import (
    ANY,
    ITEM,
    JOB,
    KEYED,
    IngestOptions,
    progress,
    warm_up,
)
from freshrank.benchmarks.workloads.shop_fixture import shop_file, user_history
from freshrank.feature_actors.connectors.in_memory.log import consecutive_records
from freshrank.feature_actors.connectors.kafka.client import KafkaAccess
from freshrank.feature_actors.partition.partition import PartitionState
from freshrank.feature_actors.settings import ShardSettings


@pytest.mark.parametrize("keys", [KEYED, ANY, ITEM, JOB])
def test_kernels_are_loaded_whatever_the_keys_of_the_stream(tmp_path: Path, keys: str) -> None:
    options = IngestOptions(KafkaAccess("nowhere:1"), "", "clicks", "shop", tmp_path, keys)
    asyncio.run(warm_up(options, options.file.load()))


def test_events_that_the_broker_has_deleted_are_told_apart_from_those_applied() -> None:
    pipeline = shop_file().load()
    state = PartitionState(pipeline.spec(ShardSettings()), 0)
    events = user_history(3, 10**12, np.random.default_rng(0))
    state.process(consecutive_records(pipeline.stream.log_topic, 0, [*events, b"{"], 10**12, 60))
    found = progress([state])
    assert found["applied"] == len(events)
    assert found["rejected"] == 1
    assert found["deleted before they were read"] == 60
    assert found["unlearned"] == found["late"] == found["duplicates"] == 0
