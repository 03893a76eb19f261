"""A certificate that cannot be used is told before anything is started."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest
from certificates import make_certificate

from freshrank.actors.errors import ConfigError
from freshrank.serve.access.certificate import read_certificate
from freshrank.serve.settings import ServeSettings


@pytest.fixture
def settings(tmp_path: Path) -> ServeSettings:
    make_certificate(tmp_path / "cert.pem", tmp_path / "key.pem")
    return ServeSettings(
        tls_certificate_file=tmp_path / "cert.pem", tls_key_file=tmp_path / "key.pem"
    )


def files(settings: ServeSettings) -> tuple[Path, Path]:
    assert settings.tls_certificate_file is not None
    assert settings.tls_key_file is not None
    return settings.tls_certificate_file, settings.tls_key_file


def test_without_the_settings_there_is_no_certificate() -> None:
    assert read_certificate(ServeSettings()) is None
    assert ServeSettings().scheme == "http"


def test_a_certificate_is_read_with_its_key_and_its_end(settings: ServeSettings) -> None:
    certificate, key = files(settings)
    found = read_certificate(settings)
    assert found is not None
    assert settings.scheme == "https"
    assert found.pem == certificate.read_bytes() + key.read_bytes()
    assert found.expires_ms / 1000 - time.time() == pytest.approx(90 * 86_400, abs=60)
    assert "KEY" not in repr(found)


def test_one_file_needs_the_other(settings: ServeSettings) -> None:
    certificate, _ = files(settings)
    with pytest.raises(ValueError, match="require each other"):
        ServeSettings(tls_certificate_file=certificate)


@pytest.mark.parametrize(
    ("begins", "ends", "problem"),
    [(-9.0, -1.0, "certificate has expired"), (1.0, 9.0, "certificate is not yet valid")],
)
def test_a_certificate_that_is_not_valid_now_is_refused(
    settings: ServeSettings, begins: float, ends: float, problem: str
) -> None:
    make_certificate(*files(settings), begins=begins, ends=ends)
    with pytest.raises(ConfigError, match=rf"tls_certificate_file .*cert.pem.*{problem}"):
        read_certificate(settings)


def test_the_key_of_another_certificate_is_refused(settings: ServeSettings, tmp_path: Path) -> None:
    _, key = files(settings)
    make_certificate(tmp_path / "other.pem", key)
    with pytest.raises(ConfigError, match=r"tls_key_file .*key.pem.* not the key of .*cert.pem"):
        read_certificate(settings)


def test_an_encrypted_key_is_refused_with_the_command_that_mends_it(
    settings: ServeSettings,
) -> None:
    make_certificate(*files(settings), password="secret")
    with pytest.raises(ConfigError, match=r"encrypted with a password.*openssl pkey -in"):
        read_certificate(settings)


@pytest.mark.parametrize("mode", [0o604, 0o666, 0o620])
def test_a_key_that_others_may_read_or_a_group_may_write_is_refused(
    settings: ServeSettings, mode: int
) -> None:
    files(settings)[1].chmod(mode)
    with pytest.raises(ConfigError, match=r"tls_key_file .*others may read.*chmod 600"):
        read_certificate(settings)


def test_a_key_that_a_group_may_read_is_taken(settings: ServeSettings) -> None:
    files(settings)[1].chmod(0o640)
    assert read_certificate(settings) is not None


@pytest.mark.parametrize("text", ["", "no certificate", "-----BEGIN CERTIFICATE-----\nAAAA\n"])
def test_what_is_no_pem_is_told_of_the_file_that_holds_it(
    settings: ServeSettings, text: str
) -> None:
    certificate, key = files(settings)
    whole = certificate.read_text()
    certificate.write_text(text)
    with pytest.raises(ConfigError, match=r"tls_certificate_file .*no certificate in PEM"):
        read_certificate(settings)
    certificate.write_text(whole)
    key.write_text(text)
    with pytest.raises(ConfigError, match=r"tls_key_file .*no private key in PEM"):
        read_certificate(settings)


def test_a_file_that_is_gone_is_told(settings: ServeSettings) -> None:
    files(settings)[1].unlink()
    with pytest.raises(ConfigError, match=r"tls_key_file .*cannot be read \(No such file"):
        read_certificate(settings)


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads every file")
def test_a_file_that_this_user_may_not_read_is_told(settings: ServeSettings) -> None:
    files(settings)[1].chmod(0o000)
    with pytest.raises(ConfigError, match=r"tls_key_file .*cannot be read \(Permission denied"):
        read_certificate(settings)
