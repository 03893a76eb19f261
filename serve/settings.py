"""The settings of the replicas. Light to import: the command line reads them without NumPy."""

from __future__ import annotations

from pydantic import Field

from freshrank.actors.settings import Section


class ServeSettings(Section):
    """The REST endpoint."""

    host: str = "127.0.0.1"
    """Only this machine reaches the endpoint, unless another address is given."""
    port: int = Field(default=8000, ge=0, le=65_535)
    """0: any free port."""
    replicas: int = Field(default=1, ge=1)
    """One replica scores thousands of requests a second; more need more cores."""
    max_ongoing_requests: int = Field(default=512, ge=1)
    """Per replica, beyond which requests get 503. Ray's own default of 5 would leave an
    asynchronous handler idle."""
    show: int = Field(default=10, ge=1)
    """How many of the best candidates are logged as shown where the request does not say."""
    read_timeout_ms: int = Field(default=50, ge=1)
    """Of the online store; beyond it a request is answered with the last known row or with default
    features, and the answer says so."""
    wait_timeout_ms: int = Field(default=1_000, ge=0)
    """How long a request waits for weights of the ``min_version`` or age that it asks for."""
    max_start_lag_ms: int = Field(default=1_000, ge=0)
    """A new replica is ready once its weights are this close to the learner's newest: a large
    snapshot takes seconds to arrive, and new versions are published meanwhile."""
    max_start_wait_ms: int = Field(default=10_000, ge=0)
    """A new replica gets requests once it is ready, or after this long: then it answers with what
    it has. A learner that is restarted at the same time is back by then."""
