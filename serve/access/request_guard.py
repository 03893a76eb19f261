"""The checks of a request's headers: host, origin, type of the body, key.

They hold against two kinds of strangers. A web page that the user of a browser visits can send
requests to this endpoint, and by DNS rebinding read the answers: its `Host` is a name that is not
ours, its `Origin` another site. A program that reaches the endpoint over a network has no key.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import logging
from collections.abc import Awaitable, Callable, Iterable

from freshrank.actors.errors import ConfigError, RequestError, TooManyRequests
from freshrank.serve.access.api_keys import ApiKey, Scope, key_record, known_key, read_keys
from freshrank.serve.access.key_rates import KeyRates
from freshrank.serve.settings import ServeSettings

# Seconds after which a key that was created or revoked is known.
RELOAD_EVERY_S = 2.0

_JSON = b"application/json"
_BEARER = b"bearer "

# Values of `Host` that have been found right and are not looked at again: a bound on memory.
_MAX_KNOWN_HOSTS = 64

_logger = logging.getLogger(__name__)

RawHeaders = Iterable[tuple[bytes, bytes]]
"""Names in lower case, and values, as ASGI has them."""


class RequestGuard:
    """Checks the headers of each request against the settings.

    Raises ConfigError when the file of keys cannot be read.

    Parameters
    ----------
    running
        Tells how many replicas run, which share the rate of a key; needed where it changes.
    """

    def __init__(
        self, settings: ServeSettings, running: Callable[[], Awaitable[int]] | None = None
    ) -> None:
        self._settings = settings
        self._running = running
        self._names = {name.lower().rstrip(".") for name in settings.allowed_hosts}
        self._names.add(settings.host.lower())
        self._known_hosts: set[bytes] = set()
        self._own: tuple[ApiKey, ...] = ()
        if settings.api_key is not None:
            self._own = (key_record(settings.api_key.get_secret_value(), "serve.api_key", Scope),)
        self._keys: tuple[ApiKey, ...] = ()
        self.rates = KeyRates(settings.replicas)
        self.keys_required = settings.keys_required
        """Whether a request needs a key, where its route has a scope."""
        if self.keys_required:
            self._keys = (*self._own, *read_keys(settings.keys_file))

    def check(self, headers: RawHeaders, *, has_body: bool, scope: Scope | None) -> None:
        """Let a request pass to a route that reads a body or not and needs `scope`, if any.

        Raises RequestError: 421 for a host that is not ours, 403 for the origin of another site or
        a key without the scope, 415 for a body that is not said to be JSON, 401 without a key; and
        TooManyRequests beyond the key's rate.
        """
        found = dict(headers)
        host = found.get(b"host")
        if host is not None and host not in self._known_hosts:
            self._check_host(host)
        origin = found.get(b"origin")
        if origin is not None and not _same_site(origin, host):
            raise RequestError("Origin", "this endpoint answers no page of another site", 403)
        if has_body:
            kind = found.get(b"content-type", b"")
            if kind != _JSON and kind.partition(b";")[0].strip().lower() != _JSON:
                raise RequestError("Content-Type", "a body has to be application/json", 415)
        if self.keys_required and scope is not None:
            self._check_key(found.get(b"authorization", b""), scope)

    async def follow(self) -> None:
        """Read keys and number of replicas again and again, for as long as keys are required."""
        while self.keys_required:
            await asyncio.sleep(RELOAD_EVERY_S)
            await asyncio.to_thread(self.reload)
            await self.share()

    async def share(self) -> None:
        """Let each key have its share of as many replicas as run, where their number changes."""
        if self._running is not None and self._settings.autoscales:
            self.rates.share_among(max(self._settings.replicas, await self._running()))

    def reload(self) -> None:
        """Read the file of keys again. While it cannot be read, no key of it is right."""
        try:
            self._keys = (*self._own, *read_keys(self._settings.keys_file))
        except ConfigError as error:
            self._keys = self._own
            _logger.error("no API key is accepted: %s", error)

    def _check_host(self, host: bytes) -> None:
        name = _host_name(host)
        if not (name in self._names or _is_local(name) or _is_address(name)):
            raise RequestError(
                "Host",
                f"{name!r} is not a name of this endpoint; serve.allowed_hosts "
                "(FRESHRANK_SERVE__ALLOWED_HOSTS) has those that are",
                421,
            )
        if len(self._known_hosts) < _MAX_KNOWN_HOSTS:
            self._known_hosts.add(host)

    def _check_key(self, authorization: bytes, scope: Scope) -> None:
        if not authorization[: len(_BEARER)].lower() == _BEARER:
            raise RequestError("Authorization", "a key is needed: `Bearer <key>`", 401)
        text = authorization[len(_BEARER) :].strip().decode("latin-1")
        key = known_key(text, self._keys)
        if key is None:
            raise RequestError("Authorization", "the key is not known", 401)
        if scope not in key.scopes:
            raise RequestError("Authorization", f"the key has not the scope {scope.value!r}", 403)
        wait_s = self.rates.wait_s(key)
        if wait_s > 0:
            raise TooManyRequests(f"the key may send {key.rate_per_s:g} requests a second", wait_s)


def check_start(settings: ServeSettings) -> None:
    """Raise ConfigError for an endpoint beyond loopback that asks nobody for a key."""
    if not settings.keys_required or settings.api_key is not None:
        return
    if not read_keys(settings.keys_file):
        raise ConfigError(
            f"serve.host {settings.host}",
            "whoever reaches it could read features and write events, and there is no API key",
            "Make one (`freshrank keys create --scope score`), or let everybody in (--insecure, "
            "FRESHRANK_SERVE__INSECURE=true).",
        )


def with_keys_required(settings: ServeSettings) -> ServeSettings:
    """Settings of an endpoint that Serve starts, at an address that only Serve knows.

    Raises ConfigError as `check_start` does, and for a certificate: its HAProxy would not get it.
    """
    if settings.tls_certificate_file is not None:
        raise ConfigError(
            "serve.tls_certificate_file",
            "the HAProxy is that of the cluster's nodes, which does not know it",
            "Leave it out, and put a proxy with TLS in front of the endpoint.",
        )
    settings = settings.model_copy(update={"require_keys": True})
    check_start(settings)
    return settings


def _same_site(origin: bytes, host: bytes | None) -> bool:
    """Whether a page of `origin` came from this endpoint; behind TLS the schemes may differ."""
    return host is not None and origin.partition(b"://")[2].lower() == host.lower()


def _host_name(host: bytes) -> str:
    """Return the name in a `Host` header, without its port.

    >>> [_host_name(host) for host in (b"Shop.example:8000", b"[::1]:80", b"::1", b"a.")]
    ['shop.example', '::1', '::1', 'a']
    """
    text = host.decode("latin-1").strip().lower()
    if text.startswith("["):
        return text[1:].partition("]")[0]
    name, colon, port = text.rpartition(":")
    return (name if colon and ":" not in name and port.isdecimal() else text).rstrip(".")


def _is_local(name: str) -> bool:
    return name == "localhost" or name.endswith(".localhost")


def _is_address(name: str) -> bool:
    """Whether it is an IP address: no page can have rebound that, and probes use it."""
    with contextlib.suppress(ValueError):
        ipaddress.ip_address(name)
        return True
    return False
