"""The process of the throughput benches, as far as it needs no server."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from freshrank.benchmarks.throughput.ingest_host import (
    ANY,
    ITEM,
    JOB,
    KEYED,
    IngestOptions,
    warm_up,
)
from freshrank.feature_actors.connectors.kafka.client import KafkaAccess


@pytest.mark.parametrize("keys", [KEYED, ANY, ITEM, JOB])
def test_kernels_are_loaded_whatever_the_keys_of_the_stream(tmp_path: Path, keys: str) -> None:
    options = IngestOptions(KafkaAccess("nowhere:1"), "", "clicks", "shop", tmp_path, keys)
    asyncio.run(warm_up(options, options.file.load()))
