"""The REST API under a real Serve and HAProxy, with fakes for Kafka, Redis and the learner."""

from __future__ import annotations

import contextlib
import importlib
import os
import signal
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import cast

import httpx
import pytest
from ray import serve
from serving import ReplicaFactory
from sockets import open_sockets, open_sockets_until, processes_of

from freshrank.actors.errors import ConfigError, FreshrankError, StartFailed, Unavailable
from freshrank.deploy.servers.brokers import Broker, EmbeddedBroker
from freshrank.deploy.servers.processes.ports import free_port
from freshrank.serve import deployment
from freshrank.serve.scoring.service import ScoringService
from freshrank.serve.settings import ServeSettings

pytestmark = pytest.mark.usefixtures("ray_cluster")

TIMEOUT_S = 20.0
# The programs of a local system, by the names that the kernel keeps.
PROGRAMS = {"gcs_server", "raylet", "haproxy", "java", "ray::ServeRepli"}


@pytest.fixture
def port() -> Iterator[int]:
    found = free_port()
    deployment.start_proxy("127.0.0.1", found)
    yield found
    cast(Callable[[], None], serve.shutdown)()  # Ray leaves it untyped


def test_requests_are_answered_behind_haproxy_until_the_replica_is_stopped(
    port: int, tmp_path: Path
) -> None:
    mark = tmp_path / "mark"
    deployment.deploy(ReplicaFactory(mark), ServeSettings())
    candidates = [{"item_id": item, "note": "n", "price": 1.0} for item in (3, 4, 5)]
    with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=TIMEOUT_S) as client:
        assert client.get("/readyz").status_code == 200
        answer = client.post("/v1/score", json={"user": "u1", "candidates": candidates})
        assert answer.json()["ranking"] == [1, 0, 2]
        assert answer.json()["model"]["version"] == "1.5"
        # Errors reach the caller unchanged by Serve and HAProxy.
        assert client.post("/v1/score", json={}).json()["error"]["field"] == "user"
        assert client.get("/nowhere").json()["error"]["field"] == "path"
        late = {"user": "u1", "candidates": candidates, "min_version": "9.0"}
        assert client.post("/v1/score", json=late).status_code == 409
        assert client.get("/").headers["content-security-policy"]
    deployment.delete()
    assert mark.read_text() == "closed"


class MistakenFactory:
    """Makes no service: what it raises, or does, in the process of a replica."""

    def __init__(self, fail: Callable[[], None], starts: Path) -> None:
        self._fail = fail
        self._starts = starts

    async def __call__(self) -> ScoringService:
        with self._starts.open("a") as file:
            file.write("x")
        self._fail()
        raise AssertionError("the start did not fail")


def misspelt() -> None:
    raise ConfigError("Catalogue.brand", "there is no such field", "Did you mean 'brands'?")


def unforeseen() -> None:
    raise KeyError("of a model of one's own\nin two lines")


def killed() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def without_broker() -> None:
    raise Unavailable("kafka", "nothing listens at broker:9092")


@pytest.mark.parametrize(
    ("fail", "error", "said", "starts"),
    [
        (misspelt, ConfigError, "Catalogue.brand: there is no such field. Did you mean", 1),
        (unforeseen, StartFailed, 'a replica of the endpoint cannot start: KeyError: "of a mo', 1),
        # It may answer a moment later: Serve tries again.
        (without_broker, Unavailable, "ray serve: kafka: nothing listens at broker:9092", 3),
        (killed, Unavailable, "ray serve: The deployment failed to start 3 times", 3),
    ],
    ids=["a mistake of the user", "an unforeseen error", "no broker", "the process ends"],
)
def test_what_keeps_replicas_from_starting_is_told_when_the_first_has_failed(
    port: int,
    tmp_path: Path,
    fail: Callable[[], None],
    error: type[FreshrankError],
    said: str,
    starts: int,
) -> None:
    with pytest.raises(error) as caught:
        deployment.deploy(MistakenFactory(fail, tmp_path / "starts"), ServeSettings())
    assert type(caught.value) is error
    assert str(caught.value).startswith(said)
    assert len((tmp_path / "starts").read_text()) == starts


def test_nothing_of_a_local_system_listens_beyond_loopback(
    port: int, kafka: Broker, redis_url: str, tmp_path: Path
) -> None:
    deployment.deploy(ReplicaFactory(tmp_path / "mark"), ServeSettings())
    with EmbeddedBroker({"behaviour": 1}) as embedded:
        # Every process that Ray starts has the token in its environment.
        token = os.environ["RAY_AUTH_TOKEN"]
        brokers = {int(one.bootstrap.rpartition(":")[2]) for one in (kafka, embedded)}
        found = open_sockets_until(
            lambda seen: (
                {one.port for one in seen} >= {port, *brokers}
                and {one.program for one in seen} >= PROGRAMS
            ),
            lambda: processes_of(os.getpid(), "RAY_AUTH_TOKEN", token),
        )
        # Another system may run at the same time, with another token.
        mine = set(open_sockets(processes_of(None, "RAY_AUTH_TOKEN", token)))
    assert [one for one in found if not one.on_loopback] == []
    # Those of Kafka are for clients, for the node itself, and for its controller.
    assert len({one.port for one in found if one.program == "java"}) == 3
    ours = [one.port for one in mine if one.program == "ray::ServeRepli" and "6" in one.protocol]
    assert {_called(one, token="wrong") for one in ours} == {"UNIMPLEMENTED", "UNAUTHENTICATED"}
    assert "UNAUTHENTICATED" not in {_called(one, token) for one in ours}


def test_a_socket_that_is_open_to_others_is_seen() -> None:
    with contextlib.ExitStack() as stack:
        planted = set()
        for family, kind, host in (
            (socket.AF_INET, socket.SOCK_STREAM, "0.0.0.0"),
            (socket.AF_INET, socket.SOCK_DGRAM, "0.0.0.0"),
            (socket.AF_INET6, socket.SOCK_STREAM, "::"),
            (socket.AF_INET, socket.SOCK_STREAM, "127.0.0.1"),
        ):
            one = stack.enter_context(socket.socket(family, kind))
            one.bind((host, 0))
            if kind is socket.SOCK_STREAM:
                one.listen()
            planted.add((host, one.getsockname()[1]))
        found = [one for one in open_sockets([os.getpid()]) if (one.host, one.port) in planted]
    assert {(one.host, one.port) for one in found} == planted
    assert sorted(one.host for one in found if not one.on_loopback) == ["0.0.0.0", "0.0.0.0", "::"]


def _called(port: int, token: str) -> str:
    """The status of a call to the gRPC server of a replica with `token`."""
    grpc = importlib.import_module("grpc")  # it comes with Ray, without types
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        method = channel.unary_unary("/ray.serve.ASGIService/HandleRequest")
        header = ("authorization", f"Bearer {token}")
        with pytest.raises(grpc.RpcError) as failed:
            method(b"", timeout=TIMEOUT_S, metadata=[header])
    return cast(str, failed.value.code().name)
