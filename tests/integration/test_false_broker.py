"""A server in a broker's place that does not know the password gets no request of a client."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import struct
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager

import pytest
from aiokafka.client import AIOKafkaClient

from freshrank.actors.errors import Unavailable
from freshrank.feature_actors.connectors.kafka.client import KafkaAccess
from freshrank.feature_actors.connectors.kafka.security import KafkaSecurity
from freshrank.feature_actors.connectors.kafka.source import KafkaSource
from freshrank.feature_actors.connectors.kafka.topics import check_brokers

PASSWORD = "a password that nobody guesses"
# Keys of Kafka's requests (https://kafka.apache.org/protocol), each of which is spoken in one
# version: metadata 0, handshake 1, versions 0, authentication 0.
METADATA, HANDSHAKE, VERSIONS, AUTHENTICATE = 3, 17, 18, 36
# The error of a refused login.
LOGIN_FAILED = 58
SPOKEN = {METADATA: 0, HANDSHAKE: 1, VERSIONS: 0, AUTHENTICATE: 0}


def text(value: str) -> bytes:
    return struct.pack(">h", len(value)) + value.encode()


def hashed(key: bytes, message: bytes) -> bytes:
    return hmac.new(key, message, hashlib.sha512).digest()


class ScramServer:
    """A broker without topics, which knows `password`; `first` and `last` are its answers."""

    def __init__(self, password: str) -> None:
        self.password = password
        self.rounds = 4096
        self.nonce: Callable[[str], str] = lambda client: f"{client}server"
        self.last: Callable[[bytes], bytes] = lambda proof: b"v=" + base64.b64encode(proof)
        self.refusal = ""
        """Why the server takes no login; empty where it does."""
        self.requests: list[int] = []
        """The keys of those that are part of no login."""
        self.logins = 0
        self.received = b""
        self.port = 0
        self._writers: list[asyncio.StreamWriter] = []

    @asynccontextmanager
    async def listening(self) -> AsyncIterator[KafkaAccess]:
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        login = KafkaSecurity("SASL_PLAINTEXT", "SCRAM-SHA-512", "shop", PASSWORD)
        try:
            yield KafkaAccess(f"127.0.0.1:{self.port}", login, deadline_s=5.0)
        finally:
            server.close()
            self.disconnect()

    def disconnect(self) -> None:
        for writer in self._writers:
            writer.close()
        self._writers.clear()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.append(writer)
        messages: list[str] = []
        while size := await reader.read(4):
            request = await reader.readexactly(struct.unpack(">i", size)[0])
            self.received += request
            key, _, number, length = struct.unpack_from(">hhih", request)
            answer = self._answer(key, request[10 + length :], messages)
            writer.write(struct.pack(">ii", 4 + len(answer), number) + answer)

    def _answer(self, key: int, body: bytes, messages: list[str]) -> bytes:
        if key == VERSIONS:
            known = b"".join(struct.pack(">hhh", one, at, at) for one, at in SPOKEN.items())
            return struct.pack(">hi", 0, len(SPOKEN)) + known
        if key == HANDSHAKE:
            return struct.pack(">hi", 0, 1) + text("SCRAM-SHA-512")
        if key == AUTHENTICATE:
            self.logins += not messages
            if self.refusal:
                return struct.pack(">h", LOGIN_FAILED) + text(self.refusal) + struct.pack(">i", 0)
            messages.append(body[4:].decode())
            given = self._first(messages) if len(messages) == 1 else self._last(messages)
            messages.append(given.decode())
            return struct.pack(">hhi", 0, -1, len(given)) + given
        self.requests.append(key)
        brokers = struct.pack(">ii", 1, 1) + text("127.0.0.1") + struct.pack(">i", self.port)
        return brokers + struct.pack(">i", 0)

    def _first(self, messages: list[str]) -> bytes:
        nonce = self.nonce(messages[0].partition("r=")[2])
        salt = base64.b64encode(b"salt").decode()
        return f"r={nonce},s={salt},i={self.rounds}".encode()

    def _last(self, messages: list[str]) -> bytes:
        first, answer, final = messages
        agreed = ",".join([first.removeprefix("n,,"), answer, final.partition(",p=")[0]])
        salted = hashlib.pbkdf2_hmac("sha512", self.password.encode(), b"salt", self.rounds)
        return self.last(hashed(hashed(salted, b"Server Key"), agreed.encode()))


def wrong_password(server: ScramServer) -> None:
    server.password = "another"


def no_signature(server: ScramServer) -> None:
    server.last = lambda _: b"m=it"


def an_error(server: ScramServer) -> None:
    server.last = lambda _: b"e=other-error"


def nothing(server: ScramServer) -> None:
    server.last = lambda _: b""


def no_text(server: ScramServer) -> None:
    server.last = lambda _: b"v=\xc3\xa9"


def half_a_signature(server: ScramServer) -> None:
    server.last = lambda proof: b"v=" + base64.b64encode(proof[:32])


def nonce_of_its_own(server: ScramServer) -> None:
    server.nonce = lambda _: "server"


def one_round(server: ScramServer) -> None:
    server.rounds = 1


async def of_a_check(kafka: KafkaAccess) -> None:
    await check_brokers(kafka)


async def of_a_reader(kafka: KafkaAccess) -> None:
    source = KafkaSource(kafka)
    try:
        await source.start({("topic", 0): 0})
    finally:
        await source.stop()


FALSE: Mapping[Callable[[ScramServer], None], str] = {
    wrong_password: "wrong signature",
    half_a_signature: "wrong signature",
    no_signature: "its answer has no 'v'",
    an_error: "its answer has no 'v'",
    nothing: "",
    no_text: "",
    nonce_of_its_own: "nonce",
    one_round: "it asks for 1 rounds of hashing",
}


@pytest.mark.parametrize("connect", [of_a_check, of_a_reader])
@pytest.mark.parametrize(("make_false", "why"), FALSE.items(), ids=[one.__name__ for one in FALSE])
def test_a_server_that_does_not_know_the_password_is_left_and_named(
    make_false: Callable[[ScramServer], None],
    why: str,
    connect: Callable[[KafkaAccess], Awaitable[None]],
) -> None:
    async def test() -> None:
        server = ScramServer(PASSWORD)
        make_false(server)
        async with server.listening() as kafka:
            with pytest.raises(Unavailable) as refused:
                await connect(kafka)
            said = str(refused.value)
            assert f"the server at {kafka.bootstrap} has not proved that it knows" in said
            assert why in said and PASSWORD not in said
            assert server.requests == []
            assert PASSWORD.encode() not in server.received

    asyncio.run(test())


def test_a_login_that_the_server_refuses_says_why() -> None:
    async def test() -> None:
        server = ScramServer(PASSWORD)
        server.refusal = "no such user"
        async with server.listening() as kafka:
            with pytest.raises(Unavailable, match=r"Unable to bootstrap.*no such user"):
                await check_brokers(kafka)

    asyncio.run(test())


def test_a_port_at_which_nothing_listens_says_so() -> None:
    async def test() -> None:
        async with ScramServer(PASSWORD).listening() as kafka:
            pass
        with pytest.raises(Unavailable, match=r"Unable to bootstrap.*Connect call failed"):
            await check_brokers(kafka)

    asyncio.run(test())


def test_a_server_that_knows_the_password_is_asked() -> None:
    async def test() -> None:
        server = ScramServer(PASSWORD)
        async with server.listening() as kafka:
            await check_brokers(kafka)
            assert server.requests == [METADATA]

    asyncio.run(test())


def test_a_client_reaches_its_broker_again_after_a_false_one_in_its_place() -> None:
    async def test() -> None:
        server = ScramServer(PASSWORD)
        async with server.listening() as kafka:
            client = AIOKafkaClient(**kafka.arguments())
            try:
                await client.bootstrap()
                await client.fetch_all_metadata()
                server.password = "another"
                server.disconnect()
                asked, logins = len(server.requests), server.logins
                async with asyncio.timeout(10):
                    while server.logins < logins + 2:
                        assert not await client.force_metadata_update()
                    assert len(server.requests) == asked
                    server.password = PASSWORD
                    assert await client.force_metadata_update()
                assert len(server.requests) > asked
            finally:
                await client.close()

    asyncio.run(test())
