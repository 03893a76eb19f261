"""The in-memory Kafka broker inside librdkafka, as a program.

Used as ``python -m freshrank.deploy.servers.mock_broker [TOPIC=PARTITIONS ...]``: prints
``listening on HOST:PORT`` and runs until it is killed. It is a process of its own, so that
neither process stops while the other one pauses.

It speaks to Kafka clients but not to their admin interface, hence the topics as arguments; others
appear with 4 partitions when they are first asked for. A partition keeps its newest 5 MB.
"""

from __future__ import annotations

import ctypes
import importlib.util
import signal
import sys
from pathlib import Path

# RD_KAFKA_PRODUCER: the mock cluster lives inside a client handle, whose kind does not matter.
_PRODUCER = 0

# One broker: more would only multiply the memory.
_BROKERS = 1

# RD_KAFKA_CONF_OK.
_OK = 0


def load_librdkafka() -> ctypes.CDLL:
    """The library that confluent-kafka brings along, with the calls that are used here.

    Its Python interface can start a mock cluster, but not say how many partitions a topic has.
    Raises ImportError where confluent-kafka is not installed.
    """
    spec = importlib.util.find_spec("confluent_kafka")
    if spec is None or spec.origin is None:
        raise ImportError("confluent-kafka is not installed", name="confluent_kafka")
    folder = Path(spec.origin).parent.with_name("confluent_kafka.libs")
    library = ctypes.CDLL(str(next(folder.glob("librdkafka-*"))))
    pointer, text, number = ctypes.c_void_p, ctypes.c_char_p, ctypes.c_int
    for name, result, arguments in (
        ("rd_kafka_conf_new", pointer, []),
        ("rd_kafka_conf_set", number, [pointer, text, text, pointer, ctypes.c_size_t]),
        ("rd_kafka_new", pointer, [number, pointer, text, ctypes.c_size_t]),
        ("rd_kafka_mock_cluster_new", pointer, [pointer, number]),
        ("rd_kafka_mock_cluster_bootstraps", text, [pointer]),
        ("rd_kafka_mock_topic_create", number, [pointer, text, number, number]),
    ):
        function = getattr(library, name)
        function.restype, function.argtypes = result, arguments
    return library


def start(topics: dict[str, int]) -> str:
    """Start a broker with these topics (name → partitions) in this process; gives its address."""
    library = load_librdkafka()
    configuration = library.rd_kafka_conf_new()
    # Errors only: the client handle around the cluster would complain that it has no broker.
    if library.rd_kafka_conf_set(configuration, b"log_level", b"3", None, 0) != _OK:
        raise RuntimeError("librdkafka does not know the setting log_level")
    problem = ctypes.create_string_buffer(512)
    client = library.rd_kafka_new(_PRODUCER, configuration, problem, len(problem))
    if not client:
        raise RuntimeError(problem.value.decode())
    cluster = library.rd_kafka_mock_cluster_new(client, _BROKERS)
    if not cluster:
        raise RuntimeError("librdkafka could not start its mock cluster")
    for name, partitions in topics.items():
        if partitions < 1:
            raise ValueError(f"topic {name} with {partitions} partitions")
        code = library.rd_kafka_mock_topic_create(cluster, name.encode(), partitions, _BROKERS)
        if code != _OK:
            raise RuntimeError(f"topic {name} with {partitions} partitions: error {code}")
    address: bytes = library.rd_kafka_mock_cluster_bootstraps(cluster)
    return address.decode()


def main() -> None:
    """Read the arguments, print the address, stay."""
    wanted = (argument.rpartition("=") for argument in sys.argv[1:])
    address = start({name: int(partitions) for name, _, partitions in wanted})
    print(f"listening on {address}", flush=True)
    signal.pause()


if __name__ == "__main__":
    main()
