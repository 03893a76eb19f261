"""What both clients have in common: a request's bytes, its retries, and what an answer means."""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar, cast

import httpx
import msgspec

from freshrank.actors.backoff import Backoff
from freshrank.actors.errors import ConfigError, FreshrankError, RequestError, Unavailable
from freshrank.serve.api.responses import ErrorAnswer
from freshrank.serve.client.calls import Call
from freshrank.serve.client.tables import plain

T = TypeVar("T")

_encode = msgspec.json.Encoder(enc_hook=plain).encode


@dataclass(frozen=True, slots=True)
class Patience:
    """How long a client waits, and how often it tries."""

    timeout_s: float = 2.0
    """For each try: to connect, to send, and to wait for more of the answer."""
    tries: int = 4
    """Of one request, where the endpoint does not answer, or answers with a 503 or a 429."""
    first_pause_s: float = 0.1
    longest_pause_s: float = 2.0
    """Between two tries; pauses double, and half of each is random."""


def trust_in(ca_file: Path | str | None) -> ssl.SSLContext | bool:
    """Whom a client of httpx trusts: the certificates of `ca_file`, or those of its own.

    Raises OSError (ssl.SSLError among them) for a file that holds none.
    """
    return True if ca_file is None else ssl.create_default_context(cafile=ca_file)


def checked_url(base_url: str) -> str:
    """The URL of an endpoint; raises ConfigError for one without ``http://`` or ``https://``.

    >>> checked_url("http://localhost:8000/")
    'http://localhost:8000'
    """
    if not base_url.startswith(("http://", "https://")):
        fix = f"Write http://{base_url}, or https:// where the endpoint has a certificate."
        raise ConfigError("base_url", f"{base_url!r} has no scheme", fix)
    return base_url.rstrip("/")


class RequestTries:
    """One request with its tries. The clients send and pause; all else is decided here."""

    def __init__(
        self, call: Call[T], base_url: str, api_key: str | None, patience: Patience
    ) -> None:
        self.method = call.method
        self.url = f"{base_url}{call.path}"
        self.headers = {"content-type": "application/json"} if call.method == "POST" else {}
        if api_key is not None:
            self.headers["authorization"] = f"Bearer {api_key}"
        if call.idempotency_key is not None:
            self.headers["idempotency-key"] = call.idempotency_key
        self.content = _encode(call.body) if call.method == "POST" else None
        self.timeout_s = patience.timeout_s
        self._patience = patience
        self._left = patience.tries
        self._pauses = Backoff(patience.first_pause_s, patience.longest_pause_s)

    def pause_s(self, outcome: httpx.Response | httpx.TransportError) -> float | None:
        """Seconds to wait before the next try; None where there is none."""
        if isinstance(outcome, httpx.Response) and outcome.status_code not in (503, 429):
            return None
        self._left -= 1
        if self._left <= 0:
            return None
        return self._pauses.next_s()


def answer_in(call: Call[T], outcome: httpx.Response | httpx.TransportError) -> T:
    """The answer to `call`.

    Raises RequestError, with its `status`, where the request has to be changed, and Unavailable
    where there is no answer, or one with a status of 500 or more.
    """
    if isinstance(outcome, httpx.TransportError):
        reason = f"{type(outcome).__name__}: {outcome}"
        raise Unavailable("endpoint", f"no answer from {call.path}: {reason}") from outcome
    if outcome.is_success:
        return cast(T, msgspec.json.decode(outcome.content, type=call.answer))
    raise _error_of(outcome)


def _error_of(response: httpx.Response) -> FreshrankError:
    try:
        problem = msgspec.json.decode(response.content, type=ErrorAnswer).error
        field, reason = problem.field, problem.reason
    except msgspec.DecodeError:  # of a proxy
        field, reason = "endpoint", f"{response.status_code} {response.text}"
    if response.status_code >= 500:
        return Unavailable(field, reason)
    return RequestError(field, reason, status=response.status_code)
