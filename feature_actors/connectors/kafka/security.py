"""Encryption and authentication towards Kafka's brokers."""

from __future__ import annotations

import logging
import ssl
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypedDict

from freshrank.actors.errors import ConfigError


class SecurityArguments(TypedDict):
    """Security arguments of every client of aiokafka, by its names for them."""

    security_protocol: str
    ssl_context: ssl.SSLContext | None
    sasl_mechanism: str
    sasl_plain_username: str | None
    sasl_plain_password: str | None


@dataclass(frozen=True, slots=True)
class KafkaSecurity:
    """Security of all clients of a cluster of brokers; its `repr` contains no password.

    >>> KafkaSecurity("SASL_SSL", username="shop", password="secret")
    KafkaSecurity(protocol='SASL_SSL', mechanism='PLAIN', username='shop', ca_file=None)
    """

    protocol: str = "PLAINTEXT"
    """``PLAINTEXT``, ``SSL``, ``SASL_PLAINTEXT`` or ``SASL_SSL``."""
    mechanism: str = "PLAIN"
    """Of SASL: ``PLAIN``, ``SCRAM-SHA-256`` or ``SCRAM-SHA-512``."""
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    ca_file: Path | None = None
    """Certificates (PEM) of trusted authorities; None: the system's."""

    def arguments(self) -> SecurityArguments:
        """For a client's constructor; raises ConfigError when the certificates cannot be read."""
        return SecurityArguments(
            security_protocol=self.protocol,
            ssl_context=self._context() if self.protocol.endswith("SSL") else None,
            sasl_mechanism=self.mechanism,
            sasl_plain_username=self.username,
            sasl_plain_password=self.password,
        )

    def _context(self) -> ssl.SSLContext:
        try:
            return ssl.create_default_context(cafile=self.ca_file)
        except OSError as error:  # an SSLError is one
            raise ConfigError(
                "kafka.ca_file",
                f"{self.ca_file} holds no certificates that can be read ({error.strerror})",
                "Give a file in PEM, on every machine.",
            ) from error


# For brokers without authentication, such as those that a local run starts.
OPEN = KafkaSecurity()


def _without_password(record: logging.LogRecord) -> bool:
    """Whether a line of the client's log may be written: the request with the password may not."""
    return "SaslAuthenticateRequest" not in record.getMessage()


# At level DEBUG the client logs each request in full.
logging.getLogger("aiokafka.conn").addFilter(_without_password)
