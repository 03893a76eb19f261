"""Replicas that come and go, with the load and by an update, cut no request and raise no alert."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import pytest
from grpc_calls import LocalCalls
from steady_clients import Asked, asking, calling
from whole_system import CANDIDATES, WholeSystem, until

from freshrank.actors.clock import SystemClock
from freshrank.actors.messages import Version
from freshrank.deploy.config.settings import Settings
from freshrank.deploy.servers.brokers import Broker
from freshrank.deploy.servers.processes.ports import free_port
from freshrank.deploy.wiring.local import LocalSystem, World
from freshrank.examples.recommend import pipeline
from freshrank.feature_actors.connectors.in_memory.log import MemoryLog

# Scored in milliseconds: several clients keep a replica busy on any machine, and the steady one,
# which asks for few and then pauses, does not.
MANY = [{"item_id": item, "category_id": item % 20} for item in range(1, 501)]
CLIENTS = 8
PAUSE_S = 0.1

# In the text of the pipeline's file, and what `freshrank update` prints.
IMPORT, LABEL, HALF_LIFE = "from freshrank import (\n", "    label=Joined(", 'half_life="20s"'
NAMES = "    Arm,\n    Experiment,\n"
ARMS = '    experiments=[Experiment("two", [Arm("a", 0.5), Arm("b", 0.5)])],\n'
UPDATED = "the replicas are updated"

# Two loads, each with a bound that some clients exceed on any machine, beside one that none does.
BY_ONGOING = "[serve]\ntarget_ongoing_requests = 2.0\ntarget_p99_ms = 60000.0\n"
BY_P99 = "[serve]\ntarget_ongoing_requests = 1000.0\ntarget_p99_ms = 0.001\n"

# The messages of gRPC of the pipeline that is run.
GRPC = LocalCalls(LocalSystem(pipeline, Settings(), World(MemoryLog(2), SystemClock())).replica)


@pytest.fixture(scope="module")
def scaled(kafka: Broker, tmp_path_factory: pytest.TempPathFactory) -> Iterator[WholeSystem]:
    """A system of one replica or two."""
    settings = {
        "FRESHRANK_SERVE__MAX_REPLICAS": "2",
        "FRESHRANK_SERVE__SCALE_DOWN_AFTER_S": "5",
        "FRESHRANK_SERVE__GRPC_PORT": str(free_port()),
        # A busy machine reads rows late, which is an alert of its own.
        "FRESHRANK_SERVE__READ_TIMEOUT_MS": "60000",
    }
    name = f"scaled-{os.getpid()}"
    system = WholeSystem(
        kafka.bootstrap,
        tmp_path_factory.mktemp("scaled"),
        name,
        settings=settings,
        config=BY_ONGOING,
    )
    system.redis.start()
    try:
        system.start()
        system.until_filled()  # what is shown before is not learned from, and told of
        yield system
    finally:
        system.kill_all()
        system.kill()
        system.redis.stop()


@contextmanager
def calls(system: WholeSystem) -> Iterator[list[Asked]]:
    """Clients of gRPC: some keep their connections, one makes another for each call."""
    request = GRPC.encoded("Score", {"user": "calls", "candidates": CANDIDATES, "show": 0})
    port = system.grpc_port
    with (
        calling(port, request, clients=2, pause_s=PAUSE_S) as kept,
        calling(port, request, pause_s=PAUSE_S, anew=True) as anew,
    ):
        until(lambda: kept.answers and anew.answers)
        yield [kept, anew]


def go_on(clients: Sequence[Asked]) -> None:
    """Wait until each has got so many further answers."""
    before = [one.answers for one in clients]
    until(lambda: all(one.answers > was + 20 for one, was in zip(clients, before, strict=True)))


def failures(clients: Sequence[Asked]) -> list[str]:
    return [failure for one in clients for failure in one.failures]


def replicas(system: WholeSystem) -> Mapping[str, Any]:
    """How many replicas the autoscaler wants and sees, as `/v1/status` tells."""
    found: Mapping[str, Any] = system.get("/v1/status").get("autoscaler", {}).get("replicas", {})
    return found


def are_up(system: WholeSystem, count: int) -> bool:
    seen = replicas(system)
    return (seen.get("wanted"), seen.get("running")) == (count, count)


def test_load_brings_a_second_replica_with_the_weights_and_its_end_removes_it(
    scaled: WholeSystem,
) -> None:
    until(lambda: are_up(scaled, 1))
    began_ms = SystemClock().now_ms()
    alerts = raised(scaled.get("/v1/status"))
    steady = {"user": "steady", "candidates": CANDIDATES, "show": 2}
    busy = {"user": "busy", "candidates": MANY, "show": 0}
    with asking(scaled.port, steady, pause_s=PAUSE_S) as steadily, calls(scaled) as called:
        with asking(scaled.port, busy, CLIENTS) as busily:
            until(lambda: are_up(scaled, 2))
            # Weights that are learned from now on reach the replica that was added, too.
            before = max(versions(scaled))
            until(lambda: has_learned(scaled, before))
            answered = busily.answers
            until(lambda: busily.answers > answered + 100)
        until(lambda: are_up(scaled, 1))
        after = steadily.answers
        until(lambda: steadily.answers > after + 20)
        go_on(called)
    assert steadily.failures == busily.failures == failures(called) == []
    status = scaled.get("/v1/status")
    up, down = changes(scaled, began_ms)
    assert (up["from"], up["to"], down["from"], down["to"]) == (1, 2, 2, 1)
    assert "more than 2 each" in up["reason"]
    assert "1 replica(s) can do" in down["reason"]
    assert scaled.readiness() == {}
    assert raised(status) == alerts
    metrics = scaled.text("/metrics")
    assert 'freshrank_part_replicas_running{part="autoscaler"} 1.0' in metrics


def test_an_update_replaces_the_only_replica_while_requests_go_on(scaled: WholeSystem) -> None:
    until(lambda: are_up(scaled, 1))
    alerts = raised(scaled.get("/v1/status"))
    steady = {"user": "steady", "candidates": CANDIDATES, "show": 2}
    clients = asking(scaled.port, steady, clients=4, pause_s=0.005)
    with clients as steadily, calls(scaled) as called:
        until(lambda: steadily.last)
        before = steadily.last
        updated(scaled, with_arms)
        after = steadily.last
        answered = steadily.answers
        until(lambda: steadily.answers > answered + 1_000)
        go_on(called)
    assert steadily.failures == failures(called) == []
    for one in called:
        answer: Any = GRPC.codec.types["ScoreAnswer"].FromString(one.last)
        assert answer.request_id.rpartition("-")[0] != replica_of(before)
    assert "arms" not in before
    assert after["arms"]["two"] in ("a", "b")
    assert replica_of(after) != replica_of(before)
    assert Version.parse(after["model"]["version"]) >= Version.parse(before["model"]["version"])
    assert scaled.readiness() == {}
    assert raised(scaled.get("/v1/status")) == alerts
    updated(scaled, without_arms)
    assert "arms" not in scaled.score("steady")


def test_an_update_that_shards_would_have_to_follow_is_refused_and_told(
    scaled: WholeSystem,
) -> None:
    until(lambda: are_up(scaled, 1))
    replica = replica_of(scaled.score("steady"))
    status, said = scaled.update(lambda text: text.replace(HALF_LIFE, 'half_life="21s"'))
    assert status == 2
    assert "a start would renew interest" in said
    told = until(lambda: raised(scaled.get("/v1/status")).get("driver"))
    assert told == {"update_refused": 1}
    until(lambda: "a start would renew interest" in scaled.log())
    assert replica_of(scaled.score("steady")) == replica
    updated(scaled, lambda text: text.replace('half_life="21s"', HALF_LIFE))
    assert replica_of(scaled.score("steady")) != replica


def test_slow_answers_bring_a_second_replica_and_their_end_removes_it(scaled: WholeSystem) -> None:
    """They are slow, and are so no more, by settings that updates bring."""
    until(lambda: are_up(scaled, 1))
    began_ms = SystemClock().now_ms()
    body = {"user": "slow", "candidates": CANDIDATES, "show": 0}
    with asking(scaled.port, body, clients=2, pause_s=0.005) as slowly:
        updated(scaled, config=BY_P99)
        up = until(lambda: changes(scaled, began_ms))[0]
        until(lambda: are_up(scaled, 2))
    updated(scaled, config=BY_ONGOING)
    until(lambda: are_up(scaled, 1))
    assert slowly.failures == []
    assert (up["from"], up["to"]) == (1, 2)
    assert re.match(r"a p99 of \S+ ms, above 0\.001 ms", up["reason"])


def changes(system: WholeSystem, since_ms: int) -> list[Mapping[str, Any]]:
    """Those of the number of replicas that the autoscaler lists."""
    listed = system.get("/v1/status").get("autoscaler", {}).get("changes", [])
    return [change for change in listed if change["at_ms"] >= since_ms]


def updated(
    system: WholeSystem, text: Callable[[str], str] = str, config: str | None = None
) -> None:
    """Change the pipeline's file or the settings, and let the run's replicas be updated by it."""
    status, said = system.update(text, config)
    assert (status, UPDATED in said) == (0, True), said


def with_arms(text: str) -> str:
    return text.replace(IMPORT, IMPORT + NAMES).replace(LABEL, ARMS + LABEL)


def without_arms(text: str) -> str:
    return text.replace(IMPORT + NAMES, IMPORT).replace(ARMS + LABEL, LABEL)


def replica_of(answer: Mapping[str, Any]) -> str:
    """The id of the replica that has answered."""
    found: str = answer["request_id"].rpartition("-")[0]
    return found


def has_learned(system: WholeSystem, before: Version) -> bool:
    """Whether both replicas have later weights; another event is learned from."""
    system.event("steady", "order", 1)
    held = versions(system)
    return len(held) == 2 and min(held) > before


def versions(system: WholeSystem) -> list[Version]:
    """Of the weights of each replica that has posted its status."""
    parts = system.get("/v1/status")
    held = [one["model"]["version"] for part, one in parts.items() if part.startswith("replica")]
    return [Version.parse(version) for version in held if version is not None]


def raised(status: Mapping[str, Any]) -> dict[str, Any]:
    """The alerts of all parts, by kind."""
    found = {part: one.get("alerts", {}).get("by_kind", {}) for part, one in status.items()}
    return {part: kinds for part, kinds in found.items() if kinds}
