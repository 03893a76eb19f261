"""The settings of the replicas. Light to import: the command line reads them without NumPy."""

from __future__ import annotations

import ipaddress
from pathlib import Path
from typing import Self

from pydantic import Field, FilePath, SecretStr, field_validator, model_validator

from freshrank.actors.settings import Section


class ServeSettings(Section):
    """The REST endpoint."""

    host: str = "127.0.0.1"
    """Only this machine reaches the endpoint, unless another address is given. Beyond loopback each
    request needs an API key."""
    port: int = Field(default=8000, ge=0, le=65_535)
    """0: any free port."""
    grpc_port: int | None = Field(default=None, ge=0, le=65_535)
    """Of the same API over gRPC, at the same host, with the same keys and certificate; each replica
    listens there itself. 0: any free port. By default there is no gRPC."""
    allowed_hosts: tuple[str, ...] = ()
    """Names by which clients may ask (their `Host` header, without the port), beside ``localhost``,
    `host` and all IP addresses. A web page elsewhere can make a browser ask by another name."""
    keys_file: Path = Field(default=Path(".freshrank") / "keys.json", validate_default=True)
    """The hashes of the API keys that ``freshrank keys`` makes. On a cluster of several machines
    all of them have to see it. Replicas notice a change within seconds."""
    api_key: SecretStr | None = Field(default=None, min_length=32, repr=False)
    """A further key, with every scope: from a secret of the cluster, for example. By default the
    process of the run makes a random key, with which it asks for statuses itself."""
    tls_certificate_file: FilePath | None = None
    """The endpoint's certificate (PEM), after it those that lead to its authority. With it the
    endpoint speaks HTTPS only. A renewed file is taken within ten seconds."""
    tls_key_file: FilePath | None = None
    """The private key of the certificate (PEM, without a password), which others may not read."""
    require_keys: bool = False
    """Ask for a key on loopback, too: other users of this machine and a proxy reach it there."""
    insecure: bool = False
    """Ask for no key beyond loopback: something in front of the endpoint has to."""
    replicas: int = Field(default=1, ge=1)
    """A replica scores thousands of requests a second; more need more cores."""
    max_replicas: int | None = Field(default=None, ge=1)
    """Replicas are added, up to so many, while either of the two targets below is exceeded, and
    removed again, down to `replicas`. By default their number is always `replicas`."""
    target_ongoing_requests: float = Field(default=16.0, gt=0.0)
    """Mean number of requests that a replica works on at a time, with `max_replicas`: on a core
    each of 16 takes 16 times as long as alone, which is some milliseconds."""
    target_p99_ms: float = Field(default=50.0, gt=0.0)
    """99th percentile of a replica's time to answer, with `max_replicas`, without what requests ask
    to wait for: far above that of a replica that has time, and less than a person notices."""
    scale_down_after_s: float = Field(default=300.0, gt=0.0)
    """With `max_replicas`: for so long a replica has to be unnecessary before it is removed. Load
    comes back within minutes, and a start takes seconds and the reading of the catalogue."""
    max_ongoing_requests: int = Field(default=512, ge=1)
    """Per replica, beyond which requests get 503. Ray's own default of 5 would leave an
    asynchronous handler idle."""
    show: int = Field(default=10, ge=1)
    """How many of the best candidates are logged as shown where the request does not say."""
    read_timeout_ms: int = Field(default=50, ge=1)
    """Of the online store; beyond it a request is answered with the last known row or with default
    features, and the answer says so."""
    row_copy_ms: int = Field(default=100, ge=0)
    """How long a replica answers with its copy of a candidate's row (of a table, or of the features
    of an item) before it reads the row again; the answer has the age. 0: it always reads."""
    most_items: int = Field(default=500_000, ge=1)
    """Items of the catalogue that a replica keeps to recommend from: about 1 kB each, 40 B for each
    user that a source of candidates knows of an item, and 24 B for each word or tag."""
    item_rows_per_s: int = Field(default=5_000, ge=1)
    """Rows of items that a replica reads in a second for the sources of its candidates: with more,
    what is popular at present shows sooner, and the online store has more to do."""
    wait_timeout_ms: int = Field(default=1_000, ge=0)
    """How long a request waits for the weights (``min_version``, ``max_model_age_ms``) and rows
    (``min_offsets``) that it asks for, unless it says ``timeout_ms``."""
    max_start_lag_ms: int = Field(default=1_000, ge=0)
    """A new replica is ready once its weights are this close to the learner's newest: a large
    snapshot takes seconds to arrive, and new versions are published meanwhile."""
    max_start_wait_ms: int = Field(default=10_000, ge=0)
    """A new replica gets requests once it is ready, or after this long: then it answers with what
    it has. A learner that is restarted at the same time is back by then."""

    @field_validator("keys_file")
    @classmethod
    def _absolute(cls, path: Path) -> Path:
        return path.absolute()  # replicas work in other folders

    @field_validator("tls_certificate_file", "tls_key_file")
    @classmethod
    def _absolute_file(cls, path: Path | None) -> Path | None:
        return None if path is None else path.absolute()

    @model_validator(mode="after")
    def _certificate_with_key(self) -> Self:
        if (self.tls_certificate_file is None) != (self.tls_key_file is None):
            raise ValueError("`tls_certificate_file` and `tls_key_file` require each other")
        return self

    @model_validator(mode="after")
    def _fewest_and_most(self) -> Self:
        if self.max_replicas is not None and self.max_replicas < self.replicas:
            raise ValueError("`max_replicas` is less than `replicas`")
        return self

    @property
    def most_replicas(self) -> int:
        """How many replicas there may be at a time."""
        return self.replicas if self.max_replicas is None else self.max_replicas

    @property
    def autoscales(self) -> bool:
        """Whether the number of replicas follows their load."""
        return self.most_replicas > self.replicas

    @property
    def scheme(self) -> str:
        """``http``, or ``https`` with a certificate."""
        return "http" if self.tls_certificate_file is None else "https"

    @property
    def keys_required(self) -> bool:
        """Whether requests need an API key.

        >>> [ServeSettings(host=host).keys_required for host in ("127.0.0.1", "::1", "0.0.0.0")]
        [False, False, True]
        """
        return not self.insecure and (self.require_keys or not _is_loopback(self.host))


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
