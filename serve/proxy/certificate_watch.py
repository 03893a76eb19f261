"""Gives HAProxy the certificate of the endpoint, and each renewed one without a restart."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from freshrank.actors.alerts import AlertKind, AlertSink, Severity
from freshrank.actors.clock import Clock
from freshrank.actors.errors import ConfigError, Unavailable
from freshrank.actors.snapshots.private_files import write_private
from freshrank.serve.access.certificate import Certificate, read_certificate
from freshrank.serve.settings import ServeSettings

Command: TypeAlias = Callable[[str], str]
"""Gives HAProxy a command, and its answer. Raises Unavailable."""

# Seconds between two looks at the files.
_LOOK_S = 10.0
# Milliseconds before its end from which on a certificate that is not renewed is an alert: those of
# Let's Encrypt are renewed a month before.
_SOON_MS = 14 * 86_400_000
# Seconds for an answer of HAProxy's admin socket.
_ANSWER_S = 5.0


@dataclass(frozen=True, slots=True)
class ProxyFiles:
    """Where HAProxy finds the certificate, and takes commands."""

    certificate: Path
    """The certificate with its key, for its owner alone; its folder is private."""
    folder: Path
    """Below it is HAProxy's admin socket, in a folder that Ray names by the node."""

    def command(self, text: str) -> str:
        """What the HAProxy that runs answers to a command. Blocks. Raises Unavailable."""
        found = sorted(self.folder.glob("*/admin.sock"))
        if not found:
            raise Unavailable("haproxy", f"it has no admin socket below {self.folder}")
        try:
            with socket.socket(socket.AF_UNIX) as connection:
                connection.settimeout(_ANSWER_S)
                connection.connect(str(found[0]))
                connection.sendall(f"{text}\n".encode("ascii"))
                answer = b""
                while more := connection.recv(65_536):
                    answer += more
        except OSError as error:
            raise Unavailable("haproxy", f"its admin socket does not answer ({error})") from error
        return answer.decode("utf-8", "replace")


def give(certificate: Certificate, files: ProxyFiles) -> None:
    """Write the certificate for the next start of HAProxy. Raises OSError."""
    draft = files.certificate.with_suffix(".draft")
    write_private(draft, certificate.pem.decode("ascii"))
    draft.replace(files.certificate)


def replace_in_proxy(certificate: Certificate, name: Path, command: Command) -> None:
    """Have the HAProxy that runs use `certificate`, in place of that of the file `name`.

    Connections that are open go on with the one before.

    Raises Unavailable with what HAProxy says of it.
    """
    # A payload ends at the first empty line.
    lines = [line for line in certificate.pem.decode("ascii").splitlines() if line.strip()]
    payload = "\n".join(lines)
    for text in (f"set ssl cert {name} <<\n{payload}\n", f"commit ssl cert {name}"):
        answer = command(text)
        if "created" not in answer and "updated" not in answer and "Success" not in answer:
            raise Unavailable("haproxy", f"it does not take the certificate: {answer.strip()}")


class CertificateWatch:
    """Looks at the files of the settings again and again.

    A certificate that is wrong is an alert, and the one before stays; so is one that ends soon.

    Parameters
    ----------
    command
        Gives a command to the HAProxy that runs.
    """

    def __init__(
        self,
        settings: ServeSettings,
        files: ProxyFiles,
        alerts: AlertSink,
        clock: Clock,
        command: Command,
    ) -> None:
        self._settings = settings
        self._files = files
        self._alerts = alerts
        self._clock = clock
        self._command = command
        self._told: str | None = None

    async def run(self) -> None:
        """Look until cancelled."""
        while True:
            await self._clock.sleep(_LOOK_S)
            await asyncio.to_thread(self.look)

    def look(self) -> None:
        """Look once: give HAProxy what is new. Blocks; never fails."""
        try:
            certificate = read_certificate(self._settings)
            if certificate is None:
                return
            if certificate.pem != self._files.certificate.read_bytes():
                replace_in_proxy(certificate, self._files.certificate, self._command)
                give(certificate, self._files)
        except (ConfigError, Unavailable, OSError) as error:
            self._tell(str(error), Severity.ERROR)
            return
        left_ms = certificate.expires_ms - self._clock.now_ms()
        if left_ms < _SOON_MS:
            days = left_ms // 86_400_000
            place = self._settings.tls_certificate_file
            self._tell(f"{place} is valid for {days} days more: renew it", Severity.WARNING)
        else:
            self._told = None

    def _tell(self, message: str, severity: Severity) -> None:
        """Report a problem, once for as long as it is the same."""
        if message != self._told:
            self._alerts.emit(AlertKind.CERTIFICATE, severity, message)
        self._told = message
