"""How many requests each API key may send."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from freshrank.serve.access.api_keys import ApiKey

# Seconds of its rate that a key may send at once after a rest.
_BURST_S = 1.0


@dataclass(slots=True)
class _Bucket:
    tokens: float
    at_s: float


class KeyRates:
    """A token bucket for each key that has a rate.

    Each of `replicas` replicas lets through an equal share, since a request may reach any of them.
    A share below one request a second still lets one through at a time.

    >>> from freshrank.serve.access.api_keys import create_key, key_record
    >>> key = key_record(create_key(), "shop", [], rate_per_s=2)
    >>> rates = KeyRates(replicas=1, now_s=lambda: 0.0)
    >>> rates.wait_s(key), rates.wait_s(key), rates.wait_s(key)
    (0.0, 0.0, 0.5)
    """

    def __init__(self, replicas: int, now_s: Callable[[], float] = time.monotonic) -> None:
        self._replicas = replicas
        self._now_s = now_s
        self._buckets: dict[str, _Bucket] = {}

    def share_among(self, replicas: int) -> None:
        """Let through an equal share of so many replicas from now on."""
        self._replicas = replicas

    def wait_s(self, key: ApiKey) -> float:
        """0: a request of `key` may pass, and is counted; else the seconds until one may."""
        if key.rate_per_s is None:
            return 0.0
        rate = key.rate_per_s / self._replicas
        most, now_s = max(1.0, rate * _BURST_S), self._now_s()
        bucket = self._buckets.setdefault(key.id, _Bucket(most, now_s))
        bucket.tokens = min(most, bucket.tokens + (now_s - bucket.at_s) * rate)
        bucket.at_s = now_s
        if bucket.tokens < 1.0:
            return (1.0 - bucket.tokens) / rate
        bucket.tokens -= 1.0
        return 0.0
