"""From a pipeline's file and settings to what a report reads: broker, topics, partitions."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from pathlib import Path

from freshrank.actors.errors import ConfigError, Unavailable
from freshrank.actors.protocols import EventSource
from freshrank.deploy.config.settings import STARTED_HERE, Settings
from freshrank.deploy.experiments.reading import ReportRequest
from freshrank.deploy.pipelines.pipeline_file import PipelineFile
from freshrank.deploy.state import state_id
from freshrank.feature_actors.connectors.kafka.client import KafkaAccess
from freshrank.feature_actors.connectors.kafka.source import KafkaSource
from freshrank.feature_actors.connectors.kafka.topics import partition_count


def report_request(
    file: Path, settings: Settings, expected_effect: float, positions: int
) -> ReportRequest:
    """What a report is about. Raises ConfigError where there is nothing to report on."""
    pipeline = PipelineFile.read(file).load()
    if not pipeline.experiments:
        raise ConfigError(
            f"Pipeline({pipeline.name!r}).experiments",
            "there is none",
            "Declare one: experiments=[Experiment(...)].",
        )
    if settings.kafka.bootstrap in STARTED_HERE:
        raise ConfigError(
            "kafka.bootstrap",
            f"{settings.kafka.bootstrap!r} is a broker that a run starts, and that ends with it",
            "Name it by its address while it runs: --kafka host:port.",
        )
    kafka, topics = _access(settings), (pipeline.stream.log_topic, pipeline.impressions_topic)
    try:
        counts = [asyncio.run(partition_count(kafka, topic)) for topic in topics]
    except Unavailable as error:
        raise ConfigError("kafka.bootstrap", error.reason, "Give the broker of the run.") from error
    if len(set(counts)) > 1:
        raise ConfigError(
            f"topic {topics[1]!r}",
            f"it has {counts[1]} partitions and {topics[0]!r} has {counts[0]}",
            "Name the broker of the run, whose topics have as many.",
        )
    state = state_id.RECORD.read(settings.state_folder(pipeline.name)) or ""
    return ReportRequest(pipeline, settings, counts[0], state, expected_effect, positions)


def source_of(request: ReportRequest) -> Callable[[], EventSource]:
    """Makes readers of the broker, not started yet."""
    return partial(KafkaSource, _access(request.settings))


def _access(settings: Settings) -> KafkaAccess:
    return KafkaAccess(settings.kafka.bootstrap, settings.kafka.security())
