"""The certificate of the endpoint: read, checked, and trusted by the run's own requests.

All of it by Python's own `ssl`: whether a key fits, and until when a certificate is valid, is what
OpenSSL says of them.
"""

from __future__ import annotations

import os
import ssl
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from freshrank.actors.errors import ConfigError
from freshrank.serve.settings import ServeSettings

# What nobody but the owner may do with the file of a key; a group may read it.
_OTHERS = stat.S_IRWXO | stat.S_IWGRP | stat.S_IXGRP
# Turns of a handshake in memory, which takes three.
_MOST_TURNS = 10


@dataclass(frozen=True, slots=True, repr=False)
class Certificate:
    """A certificate with what leads to its authority, and its key."""

    pem: bytes
    """The text of both files, the certificate first: as HAProxy takes them."""
    expires_ms: int
    """Until when it is valid, in ms since the Unix epoch."""


def read_certificate(settings: ServeSettings) -> Certificate | None:
    """Read and check the files that the settings name; None: they name none.

    Raises ConfigError, with the name of the setting and the fix, where a file is missing or is not
    readable, the key's file is open to others or encrypted, the key is of another certificate, or
    the certificate is not valid at present.
    """
    certificate_file, key_file = settings.tls_certificate_file, settings.tls_key_file
    if certificate_file is None or key_file is None:
        return None
    certificate = _read(certificate_file, "tls_certificate_file")
    key = _read(key_file, "tls_key_file")
    if key_file.stat().st_mode & _OTHERS:
        raise _wrong_key(key_file, "others may read or write it", f"chmod 600 {key_file}")
    with _in_memory(certificate) as path:
        try:
            _ = trusting(path)
        except ssl.SSLError as error:
            raise ConfigError(
                f"serve.tls_certificate_file {certificate_file}",
                f"it holds no certificate in PEM ({_reason(error)})",
                "Give the certificate of the endpoint, and after it those that lead to its "
                "authority.",
            ) from error
    # A file's last line may lack its end.
    pem = certificate.rstrip() + b"\n" + key.rstrip() + b"\n"
    with _in_memory(pem) as path:
        return Certificate(pem, _expires_ms(path, certificate_file, key_file))


def trusting(certificate_file: Path) -> ssl.SSLContext:
    """A client's context that trusts the endpoint with this very certificate, and no other.

    It is trusted by any name, as the run's own requests go to an address. Raises OSError
    (ssl.SSLError among them).
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    context.load_verify_locations(certificate_file)
    return context


def _read(path: Path, setting: str) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        problem = f"it cannot be read ({error.strerror or type(error).__name__})"
        fix = "Give a file in PEM that this user may read."
        raise ConfigError(f"serve.{setting} {path}", problem, fix) from error


@contextmanager
def _in_memory(pem: bytes) -> Iterator[Path]:
    """The path of a file that no disk has."""
    with os.fdopen(os.memfd_create("certificate"), "wb", buffering=0) as file:
        file.write(pem)
        yield Path(f"/proc/self/fd/{file.fileno()}")


def _expires_ms(path: Path, certificate_file: Path, key_file: Path) -> int:
    """Until when the certificate of `path` is valid. Raises ConfigError as `read_certificate`."""
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        server.load_cert_chain(path, password=_no_password)
    except _EncryptedKeyError as error:
        fix = f"Write it without: openssl pkey -in {key_file} -out FILE"
        raise _wrong_key(key_file, "it is encrypted with a password", fix) from error
    except ssl.SSLError as error:
        if error.reason == "KEY_VALUES_MISMATCH":
            problem = f"it is not the key of {certificate_file}"
            fix = "Give the two files that were made together."
            raise _wrong_key(key_file, problem, fix) from error
        problem = f"it holds no private key in PEM ({_reason(error)})"
        raise _wrong_key(key_file, problem, "Give the certificate's private key.") from error
    try:
        valid_until = _shaken(server, trusting(path))["notAfter"]
    except ssl.SSLCertVerificationError as error:
        raise ConfigError(
            f"serve.tls_certificate_file {certificate_file}",
            f"it is not valid: {error.verify_message}",
            "Renew it, and look at the clock of this machine.",
        ) from error
    return ssl.cert_time_to_seconds(str(valid_until)) * 1000


def _shaken(server: ssl.SSLContext, client: ssl.SSLContext) -> dict[str, object]:
    """What a client says of a server's certificate after a handshake in memory."""
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    asking = client.wrap_bio(to_client, to_server)
    answering = server.wrap_bio(to_server, to_client, server_side=True)
    for _ in range(_MOST_TURNS):
        for side in (asking, answering):
            with suppress(ssl.SSLWantReadError):
                side.do_handshake()
    return dict(asking.getpeercert() or {})


class _EncryptedKeyError(Exception):
    """A password was asked for."""


def _no_password() -> str:
    raise _EncryptedKeyError


def _wrong_key(path: Path, problem: str, fix: str) -> ConfigError:
    return ConfigError(f"serve.tls_key_file {path}", problem, fix)


def _reason(error: ssl.SSLError) -> str:
    return error.reason or "it is empty"
