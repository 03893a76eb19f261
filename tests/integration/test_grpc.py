"""gRPC over real connections: of a replica that Serve runs, with keys, TLS and Google's client."""

from __future__ import annotations

import asyncio
import socket
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, cast

import grpc
import pytest
from certificates import make_certificate
from documents import blocks
from grpc import aio
from grpc_calls import local_calls
from http_calls import candidates
from ray import serve
from serving import FakeModel, ReplicaFactory, ReplicaUnderTest
from steady_clients import documented_retries
from whole_system import PATIENCE_S

from freshrank.actors.clock import SystemClock
from freshrank.actors.errors import ConfigError
from freshrank.actors.messages import Version
from freshrank.deploy.config.settings import Settings
from freshrank.deploy.servers.processes.ports import free_port
from freshrank.deploy.wiring.local import LocalSystem, World
from freshrank.examples.recommend import pipeline
from freshrank.feature_actors.connectors.in_memory.log import MemoryLog
from freshrank.serve import deployment
from freshrank.serve.access.request_guard import RequestGuard
from freshrank.serve.app import grpc_server, routes_of
from freshrank.serve.grpc.health import HEALTH_SERVICE
from freshrank.serve.grpc.rpc_table import RpcTable
from freshrank.serve.grpc.server import ERROR_TRAILER, GrpcServer
from freshrank.serve.settings import ServeSettings

ROOT = Path(__file__).parent.parent.parent
KEY = "fr_00000001_" + "s" * 43
RIGHT = (("authorization", f"Bearer {KEY}"),)
LOCAL = local_calls(ReplicaUnderTest())
TYPES = LOCAL.codec.types
SCORE: dict[str, Any] = {"user": "u1", "candidates": candidates(3, 4, 5)}


async def score(channel: aio.Channel, **call: Any) -> Any:
    """The answer to a call of `channel` about three candidates."""
    answered = TYPES["ScoreAnswer"].FromString
    method: Callable[..., Awaitable[Any]] = channel.unary_unary(
        "/freshrank.v1.Freshrank/Score", bytes, answered
    )
    return await method(LOCAL.encoded("Score", SCORE | call.pop("request", {})), **call)


async def failure(channel: aio.Channel, **call: Any) -> aio.AioRpcError:
    """The error of such a call."""
    with pytest.raises(aio.AioRpcError) as failed:
        await score(channel, **call)
    return failed.value


def trusting(certificate: Path) -> grpc.ChannelCredentials:
    return grpc.ssl_channel_credentials(certificate.read_bytes())


def served(access: dict[str, object], model: FakeModel | None = None) -> GrpcServer:
    """The server of a replica in this process, which is not started."""
    replica = ReplicaUnderTest(access={"grpc_port": 0, **access}, model=model)
    replica.store.kept[b"row:u1"] = b"4"
    found = grpc_server(
        replica.service, *routes_of(replica.service, RequestGuard(replica.service.settings))
    )
    assert found is not None
    return found


@asynccontextmanager
async def running(server: GrpcServer) -> AsyncIterator[str]:
    """Its address, while it runs."""
    yield f"localhost:{await server.start()}"
    await server.stop()


@pytest.fixture
def files(tmp_path: Path) -> dict[str, object]:
    """Settings with a certificate."""
    pem, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    make_certificate(pem, key)
    return {"tls_certificate_file": pem, "tls_key_file": key}


@pytest.mark.usefixtures("ray_cluster")
def test_a_replica_of_serve_answers_calls_with_a_key_over_tls(
    tmp_path: Path, files: dict[str, object]
) -> None:
    port, mark = free_port(), tmp_path / "mark"
    deployment.start_proxy("127.0.0.1", free_port())
    access = {"grpc_port": port, "require_keys": True, "api_key": KEY, **files}
    deployment.deploy(ReplicaFactory(mark, access), ServeSettings())
    address, credentials = f"localhost:{port}", trusting(cast(Path, files["tls_certificate_file"]))

    async def calls() -> None:
        async with aio.secure_channel(address, credentials) as channel:
            found = await score(channel, metadata=RIGHT, timeout=PATIENCE_S)
            assert list(found.ranking) == [1, 0, 2]
            assert found.model.version == "1.5"
            refused = await failure(channel, timeout=PATIENCE_S)
            assert refused.code() is grpc.StatusCode.UNAUTHENTICATED
            late = await failure(
                channel, request={"min_version": "9.0"}, metadata=RIGHT, timeout=PATIENCE_S
            )
            assert late.code() is grpc.StatusCode.FAILED_PRECONDITION
        async with aio.insecure_channel(address) as channel:
            without_tls = await failure(channel, metadata=RIGHT, timeout=PATIENCE_S)
            assert without_tls.code() is grpc.StatusCode.UNAVAILABLE

    asyncio.run(calls())
    deployment.delete()
    assert mark.read_text() == "closed"
    cast(Callable[[], None], serve.shutdown)()  # Ray leaves it untyped


def test_an_error_names_the_field_in_words_and_in_a_message() -> None:
    async def call() -> aio.AioRpcError:
        async with running(served({})) as address, aio.insecure_channel(address) as channel:
            return await failure(channel, request={"show": -1})

    error = asyncio.run(call())
    assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert error.details() == "show: Expected `int` >= 0"
    trailer = dict(error.trailing_metadata())
    message: Any = TYPES["ErrorAnswer"].FromString(cast(bytes, trailer[ERROR_TRAILER]))
    assert (message.error.field, message.error.reason) == ("show", "Expected `int` >= 0")


class Late(FakeModel):
    """Weights that arrive when they are let go."""

    def __init__(self) -> None:
        super().__init__()
        self.wanted, self.go = asyncio.Event(), asyncio.Event()

    async def wait_for(self, version: Version, timeout_s: float) -> None:
        self.wanted.set()
        await self.go.wait()


def test_a_server_that_stops_answers_what_it_has_begun() -> None:
    async def call() -> tuple[Any, aio.AioRpcError]:
        model = Late()
        server = served({}, model)
        address = f"localhost:{await server.start()}"
        async with aio.insecure_channel(address) as channel:
            waiting = asyncio.ensure_future(score(channel, request={"min_version": "9.0"}))
            await model.wanted.wait()
            stopping = asyncio.ensure_future(server.stop())
            await asyncio.sleep(0)
            model.go.set()
            found = await waiting
            await stopping
            return found, await failure(channel, timeout=PATIENCE_S)

    found, after = asyncio.run(call())
    assert len(found.scores) == 3
    assert after.code() is grpc.StatusCode.UNAVAILABLE


def test_the_standard_health_service_tells_readiness_and_that_the_server_leaves(
    files: dict[str, object],
) -> None:
    """By TLS as the calls, and without a key, as GET /readyz."""

    async def story() -> tuple[bytes, list[bytes], aio.AioRpcError]:
        server = served({"require_keys": True, "api_key": KEY, **files})
        address = f"localhost:{await server.start()}"
        credentials = trusting(cast(Path, files["tls_certificate_file"]))
        async with aio.secure_channel(address, credentials) as channel:
            check: Callable[..., Awaitable[bytes]] = channel.unary_unary(f"/{HEALTH_SERVICE}/Check")
            once, told = await check(b"", timeout=PATIENCE_S), []
            with pytest.raises(aio.AioRpcError) as unknown:
                await check(b"\n\x04shop", timeout=PATIENCE_S)
            watch: Callable[..., AsyncIterator[bytes]] = channel.unary_stream(
                f"/{HEALTH_SERVICE}/Watch"
            )
            stopping: asyncio.Future[None] | None = None
            async for status in watch(b"", timeout=PATIENCE_S):
                told.append(status)
                stopping = stopping or asyncio.ensure_future(server.stop())
            assert stopping is not None
            await stopping
            return once, told, unknown.value

    once, told, unknown = asyncio.run(story())
    assert (once, told) == (b"\x08\x01", [b"\x08\x01", b"\x08\x02"])
    assert unknown.code() is grpc.StatusCode.NOT_FOUND


def test_a_call_whose_client_waits_no_more_is_not_waited_for() -> None:
    async def call() -> aio.AioRpcError:
        model = Late()
        async with running(served({}, model)) as address, aio.insecure_channel(address) as channel:
            return await failure(channel, request={"min_version": "9.0"}, timeout=0.05)

    assert asyncio.run(call()).code() is grpc.StatusCode.DEADLINE_EXCEEDED


def test_a_renewed_certificate_is_shown_and_a_wrong_one_is_not(files: dict[str, object]) -> None:
    pem, key = cast(Path, files["tls_certificate_file"]), cast(Path, files["tls_key_file"])

    async def answered(address: str, credentials: grpc.ChannelCredentials) -> int:
        async with aio.secure_channel(address, credentials) as channel:
            return len((await score(channel, timeout=PATIENCE_S)).scores)

    async def story() -> list[int]:
        async with running(served(files)) as address:
            first, found = trusting(pem), []
            found.append(await answered(address, first))
            key.write_text("no key")
            found.append(await answered(address, first))
            make_certificate(pem, key)
            renewed = trusting(pem)
            found.append(await answered(address, renewed))
            async with aio.secure_channel(address, first) as channel:
                gone = await failure(channel, timeout=PATIENCE_S)
                assert gone.code() is grpc.StatusCode.UNAVAILABLE
            return found

    assert asyncio.run(story()) == [3, 3, 3]


def test_a_port_that_another_program_has_is_an_error_that_names_it() -> None:

    async def start() -> None:
        with socket.socket() as other:
            other.bind(("127.0.0.1", 0))
            other.listen()
            port = other.getsockname()[1]
            with pytest.raises(ConfigError, match=f"serve.grpc_port {port} of 127.0.0.1"):
                await served({"grpc_port": port}).start()

    asyncio.run(start())


def test_replicas_share_the_port() -> None:
    async def story() -> list[int]:
        port = free_port()
        first, second = served({"grpc_port": port}), served({"grpc_port": port})
        await first.start()
        async with running(second) as address:
            await first.stop()
            async with aio.insecure_channel(address) as channel:
                return list((await score(channel, timeout=PATIENCE_S)).ranking)

    assert asyncio.run(story()) == [1, 0, 2]


def test_calls_go_on_while_replicas_that_share_the_port_leave_one_after_another() -> None:
    """By the configuration of the documentation; without it a call at the wrong instant fails."""
    port, answers, answered = free_port(), [0] * 8, asyncio.Condition()
    options = [("grpc.use_local_subchannel_pool", 1), ("grpc.service_config", documented_retries())]

    async def calls(client: int) -> None:
        async with aio.insecure_channel(f"localhost:{port}", options) as channel:
            while True:
                await score(channel, timeout=PATIENCE_S)
                answers[client] += 1
                async with answered:
                    answered.notify_all()

    async def all_are_answered() -> None:
        before = [*answers]
        async with answered:
            await answered.wait_for(
                lambda: all(now > was + 10 for now, was in zip(answers, before, strict=True))
            )

    async def updates() -> GrpcServer:
        last = served({"grpc_port": port})
        await last.start()
        for _ in range(5):
            await all_are_answered()
            following = served({"grpc_port": port})
            await following.start()
            await last.stop()
            last = following
        await all_are_answered()
        return last

    async def story() -> None:
        clients = [asyncio.ensure_future(calls(client)) for client in range(len(answers))]
        updating = asyncio.ensure_future(updates())
        ended, _ = await asyncio.wait((*clients, updating), return_when=asyncio.FIRST_COMPLETED)
        updating.cancel()
        for client in clients:
            client.cancel()
        await asyncio.gather(updating, *clients, return_exceptions=True)
        for one in ended:
            one.result()  # a client ends by the error of a call alone
        await updating.result().stop()

    asyncio.run(story())


def test_the_sample_of_the_page_runs_with_a_client_that_is_generated(tmp_path: Path) -> None:
    (sample,) = (one.text for one in blocks(ROOT, "py", "docs/client.md") if "grpc" in one.text)
    settings = Settings(serve=ServeSettings(max_start_wait_ms=0, grpc_port=0))

    async def run(*command: str) -> bytes:
        process = await asyncio.create_subprocess_exec(
            sys.executable, *command, cwd=tmp_path, stdout=asyncio.subprocess.PIPE
        )
        said, _ = await process.communicate()
        assert process.returncode == 0
        return said

    async def story() -> bytes:
        system = LocalSystem(pipeline, settings, World(MemoryLog(4), SystemClock()))
        await system.start()
        service = system.replica
        specs, handlers = routes_of(service, RequestGuard(service.settings))
        (tmp_path / "freshrank.proto").write_text(RpcTable(specs).text("demo"))
        outputs = ("--python_out=.", "--grpc_python_out=.")
        await run("-m", "grpc_tools.protoc", "-I.", *outputs, "freshrank.proto")
        server = grpc_server(service, specs, handlers)
        assert server is not None
        async with running(server) as address:
            (tmp_path / "sample.py").write_text(
                sample.replace("localhost:9000", address).replace("0.5)", f"{PATIENCE_S})")
            )
            said = await run("sample.py")
        await system.stop()
        return said

    words = asyncio.run(story()).decode().split()
    assert sorted(word.strip("[],") for word in words[:2]) == ["163", "164"]
