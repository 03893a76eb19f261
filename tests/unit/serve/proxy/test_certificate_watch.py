"""A renewed certificate reaches HAProxy; one that is wrong leaves the one before in use."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from certificates import make_certificate
from fake_clock import FakeClock

from freshrank.actors.alerts import Alerts
from freshrank.serve.access.certificate import read_certificate
from freshrank.serve.proxy.certificate_watch import CertificateWatch, ProxyFiles, give
from freshrank.serve.settings import ServeSettings


class Proxy:
    """Takes commands as HAProxy does."""

    def __init__(self) -> None:
        self.commands: list[str] = []
        self.answers = ["Transaction created for certificate!", "Committing.\nSuccess!"]

    def command(self, text: str) -> str:
        self.commands.append(text)
        return self.answers[text.startswith("commit")]


class Endpoint:
    def __init__(self, folder: Path) -> None:
        self.files = ProxyFiles(folder / "endpoint.pem", folder)
        self.pem, self.key = folder / "cert.pem", folder / "key.pem"
        self.renew()
        self.settings = ServeSettings(tls_certificate_file=self.pem, tls_key_file=self.key)
        certificate = read_certificate(self.settings)
        assert certificate is not None
        give(certificate, self.files)
        self.proxy = Proxy()
        clock = FakeClock(time.time() * 1000.0)
        self.alerts = Alerts("driver", clock)
        self.watch = CertificateWatch(
            self.settings, self.files, self.alerts, clock, self.proxy.command
        )

    def renew(self, days: float = 90.0) -> None:
        make_certificate(self.pem, self.key, ends=days)

    @property
    def given(self) -> bytes:
        return self.files.certificate.read_bytes()

    @property
    def told(self) -> list[str]:
        newest = self.alerts.status()["newest"]
        assert isinstance(newest, list)
        return [str(one["message"]) for one in newest if isinstance(one, dict)]


@pytest.fixture
def endpoint(tmp_path: Path) -> Endpoint:
    return Endpoint(tmp_path)


def test_a_certificate_that_stays_is_not_given_again(endpoint: Endpoint) -> None:
    endpoint.watch.look()
    assert endpoint.proxy.commands == []
    assert endpoint.told == []
    assert endpoint.files.certificate.stat().st_mode & 0o777 == 0o600


def test_a_renewed_certificate_is_given_to_the_running_proxy_and_to_the_next(
    endpoint: Endpoint,
) -> None:
    endpoint.renew()
    endpoint.watch.look()
    given = endpoint.pem.read_bytes() + endpoint.key.read_bytes()
    assert endpoint.given == given
    name = endpoint.files.certificate
    first, second = endpoint.proxy.commands
    assert first == f"set ssl cert {name} <<\n{given.decode()}"
    assert second == f"commit ssl cert {name}"
    endpoint.watch.look()
    assert len(endpoint.proxy.commands) == 2
    assert endpoint.told == []


def test_a_wrong_certificate_is_told_once_and_the_old_one_stays(endpoint: Endpoint) -> None:
    before = endpoint.given
    make_certificate(endpoint.pem, endpoint.key.with_name("other"))
    endpoint.watch.look()
    endpoint.watch.look()
    (message,) = endpoint.told
    assert "not the key of" in message
    assert endpoint.given == before
    assert endpoint.proxy.commands == []
    endpoint.renew()
    endpoint.watch.look()
    assert endpoint.given != before


def test_what_haproxy_refuses_is_told_and_tried_again(endpoint: Endpoint) -> None:
    before = endpoint.given
    endpoint.proxy.answers[0] = "Can't find it"
    endpoint.renew()
    endpoint.watch.look()
    assert endpoint.given == before
    assert ["it does not take the certificate: Can't find it" in one for one in endpoint.told] == [
        True
    ]
    endpoint.proxy.answers[0] = "Transaction updated"
    endpoint.watch.look()
    assert endpoint.given != before


def test_a_proxy_that_is_away_is_told(endpoint: Endpoint) -> None:
    files, clock = endpoint.files, FakeClock(time.time() * 1000.0)
    endpoint.renew()
    CertificateWatch(endpoint.settings, files, endpoint.alerts, clock, files.command).look()
    assert ["no admin socket" in one for one in endpoint.told] == [True]


def test_a_certificate_that_ends_soon_is_told_once_a_day(endpoint: Endpoint) -> None:
    endpoint.renew(days=5.5)
    endpoint.watch.look()
    endpoint.watch.look()
    (message,) = endpoint.told
    assert message.endswith("cert.pem is valid for 5 days more: renew it")
