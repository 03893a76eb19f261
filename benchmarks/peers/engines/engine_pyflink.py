"""The shared job in PyFlink: keyed state of a process function, and a thread that writes rows."""

from __future__ import annotations

import itertools
import sys
import threading
from typing import Any

import orjson
from jgo.config import GlobalSettings
from jgo.maven import MavenContext
from pyflink.common import Configuration, Types, WatermarkStrategy
from pyflink.common.serialization import SimpleStringSchema
from pyflink.datastream import KeyedProcessFunction, RuntimeContext, StreamExecutionEnvironment
from pyflink.datastream.connectors.kafka import KafkaOffsetsInitializer, KafkaSource
from pyflink.datastream.state import ValueStateDescriptor
from pyflink.java_gateway import get_gateway

DURABLE = "checkpoints of state and offsets in files, one each interval; rows at least once"
# The jar that Flink's documents have users of Kafka add.
CONNECTOR = "org.apache.flink:flink-sql-connector-kafka:5.0.0-2.2"
# Seconds between two writes of rows, and milliseconds that events wait for others of a bundle.
WRITE_S, BUNDLE_MS = 0.01, 10
# Writes from one question whether the job still runs to the next.
ASKED = 100


class Run:
    """What functions share with `run`: a local Flink has them in the process that starts it."""

    def __init__(self, work: Any) -> None:
        self.work = work
        self.left = work.count
        self._rows: dict[str, Any] = {}
        self._swapping = threading.Lock()

    def apply(self, known: dict[str, Any], event: dict[str, Any]) -> None:
        """Apply an event to the state of its user."""
        self.work.writer.begin()
        self.work.job.update(known, event)
        row = self.work.job.row(known)
        with self._swapping:
            self._rows[event["user_id"]] = row
        self.left -= 1

    def write(self) -> None:
        """Write the rows that have changed."""
        with self._swapping:
            changed, self._rows = self._rows, {}
        self.work.writer.write(changed)


RUNS: dict[str, Run] = {}
"""By the group of their work."""


class Shop(KeyedProcessFunction):
    """Keeps the states of users."""

    def __init__(self, group: str) -> None:
        self._group = group

    def open(self, runtime_context: RuntimeContext) -> None:
        """Called before the first event."""
        self._run = RUNS[self._group]
        described = ValueStateDescriptor("shop", Types.PICKLED_BYTE_ARRAY())
        self._state = runtime_context.get_state(described)

    def process_element(self, value: Any, ctx: Any) -> Any:
        """Called with the user and the text of each event."""
        known = self._state.value() or {}
        self._run.apply(known, orjson.loads(value))
        self._state.update(known)
        return ()


def connector() -> str:
    """Fetch the jar, where Maven's cache does not have it; gives its URL."""
    context = MavenContext(remote_repos=GlobalSettings.load().repositories or None)
    return context.create_dependency(CONNECTOR).artifact.resolve().as_uri()


def run(work: Any) -> None:
    """Read `work.count` records, and end."""
    shared = RUNS[work.group] = Run(work)
    work.writer.count_also(get_gateway().jvm.java.lang.ProcessHandle.current().pid())
    settings = Configuration()
    settings.set_string("python.fn-execution.bundle.time", str(BUNDLE_MS))
    settings.set_string("restart-strategy.type", "none")
    settings.set_string("execution.checkpointing.dir", work.folder.as_uri())
    settings.set_string("execution.checkpointing.interval", f"{round(1_000 * work.interval_s)} ms")
    env = StreamExecutionEnvironment.get_execution_environment(settings)
    env.set_python_executable(sys.executable)
    env.set_parallelism(1)
    env.set_buffer_timeout(BUNDLE_MS)
    env.add_jars(connector())
    source = (
        KafkaSource.builder()
        .set_bootstrap_servers(work.bootstrap)
        .set_topics(work.topic)
        .set_group_id(work.group)
        .set_starting_offsets(KafkaOffsetsInitializer.earliest())
        .set_value_only_deserializer(SimpleStringSchema())
        .build()
    )
    events = env.from_source(source, WatermarkStrategy.no_watermarks(), "events")
    keyed = events.key_by(lambda value: orjson.loads(value)["user_id"], Types.STRING())
    keyed.process(Shop(work.group)).print()
    job = env.execute_async("shop")
    result, pause = job.get_job_execution_result(), threading.Event()
    for turn in itertools.count(1):
        pause.wait(WRITE_S)
        shared.write()
        if shared.left <= 0:
            break
        if turn % ASKED == 0 and result.done():
            result.result()  # raises what has ended the job
    shared.write()
    job.cancel().result()
