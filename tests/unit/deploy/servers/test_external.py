import asyncio
from dataclasses import replace
from pathlib import Path

import pytest

from freshrank import Entity, FeatureView, TimeSince
from freshrank.actors.errors import ConfigError, Unavailable
from freshrank.deploy.config.loader import load_settings
from freshrank.deploy.config.settings import Settings
from freshrank.deploy.pipelines.pipeline_file import PipelineFile
from freshrank.deploy.servers import external
from freshrank.deploy.servers.external import (
    check_rows_beside,
    external_servers,
    prepare_topics,
    side_topics,
)
from freshrank.examples import fraud
from freshrank.feature_actors.connectors.kafka.client import KafkaAccess

EXAMPLE = Path(__file__).parents[4] / "examples" / "recommend.py"


def test_rejected_records_and_alerts_have_topics_of_their_own(tmp_path: Path) -> None:
    pipeline = PipelineFile.read(EXAMPLE).load()
    assert side_topics(pipeline) == [
        "behaviour.dead",
        "recommend.impressions.dead",
        "behaviour.late",
        "recommend.alerts",
    ]
    with pytest.raises(ConfigError, match="not the address of a broker"):
        settings = load_settings(None, {"FRESHRANK_KAFKA__BOOTSTRAP": "nonsense"})
        external_servers(pipeline, settings, tmp_path, print)


async def asked(*_: object, **__: object) -> int:
    """In place of what a broker answers about a topic: its partitions."""
    return 2


def test_rows_of_other_entities_beside_a_label_need_a_topic_of_one_partition(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(external, "ensure_topics", asked)
    monkeypatch.setattr(external, "partition_count", asked)
    with pytest.raises(ConfigError) as caught:
        asyncio.run(prepare_topics(fraud.pipeline, KafkaAccess("kafka:9092"), Settings()))
    assert "it has 2 partitions" in caught.value.problem
    assert "FRESHRANK_KAFKA__PARTITIONS=1" in caught.value.fix


class OfPairs(FeatureView):
    entity = Entity("pair", key=["customer_id", "terminal_id"])
    source = fraud.payments
    together = TimeSince()


class OfAmounts(FeatureView):
    entity = Entity("terminal_band", key=["terminal_id", "band"])
    source = fraud.payments
    between = TimeSince()


def test_rows_of_pairs_that_the_streams_own_entity_owns_lie_where_the_events_do() -> None:
    pairs = replace(fraud.pipeline, features=[fraud.pipeline.features[0], OfPairs])
    check_rows_beside(pairs, 2)
    others = replace(fraud.pipeline, features=[fraud.pipeline.features[0], OfAmounts])
    check_rows_beside(others, 1)
    with pytest.raises(ConfigError, match="the rows of 'terminal_band' that examples have"):
        check_rows_beside(others, 2)


def test_a_broker_that_does_not_answer_may_want_a_login(monkeypatch: pytest.MonkeyPatch) -> None:
    async def away(*_: object, **__: object) -> None:
        raise Unavailable("kafka", "the connection was closed")

    monkeypatch.setattr(external, "ensure_topics", away)
    pipeline = PipelineFile.read(EXAMPLE).load()
    with pytest.raises(ConfigError) as caught:
        asyncio.run(prepare_topics(pipeline, KafkaAccess("kafka:9092"), Settings()))
    assert "kafka.security_protocol, kafka.username" in caught.value.fix
