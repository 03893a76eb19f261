"""How many requests of a key pass, by a clock that is set."""

from __future__ import annotations

import pytest

from freshrank.serve.access.api_keys import ApiKey, create_key, key_record
from freshrank.serve.access.key_rates import KeyRates


class Clock:
    at_s = 0.0

    def __call__(self) -> float:
        return self.at_s


def key(rate_per_s: float | None) -> ApiKey:
    return key_record(create_key(), "shop", [], rate_per_s=rate_per_s)


def passed(rates: KeyRates, clock: Clock, of: ApiKey, seconds: int, each_s: float) -> int:
    """Of a request each `each_s` seconds, how many pass."""
    count = 0
    for _ in range(round(seconds / each_s)):
        count += rates.wait_s(of) == 0
        clock.at_s += each_s
    return count


@pytest.mark.parametrize(("rate", "replicas", "most"), [(10, 1, 1_010), (10, 4, 253), (0.5, 1, 51)])
def test_a_hundred_seconds_let_through_what_the_rate_says_and_one_burst(
    rate: float, replicas: int, most: int
) -> None:
    clock = Clock()
    count = passed(KeyRates(replicas, clock), clock, key(rate), 100, 1 / 64)
    assert most - 3 <= count <= most


def test_a_key_below_its_rate_is_never_refused() -> None:
    clock = Clock()
    assert passed(KeyRates(1, clock), clock, key(4), 100, 0.25) == 400


def test_the_wait_is_the_time_until_one_passes_and_keys_do_not_share() -> None:
    clock = Clock()
    rates, slow, other = KeyRates(1, clock), key(0.5), key(0.5)
    assert (rates.wait_s(slow), rates.wait_s(slow), rates.wait_s(other)) == (0.0, 2.0, 0.0)
    clock.at_s = 2.0
    assert rates.wait_s(slow) == 0.0


def test_a_key_without_a_rate_always_passes() -> None:
    clock = Clock()
    assert passed(KeyRates(1, clock), clock, key(None), 1, 0.001) == 1_000


def test_a_key_keeps_its_rate_when_replicas_are_added_and_removed() -> None:
    clock = Clock()
    rates, one = KeyRates(1, clock), key(100)
    for replicas in (1, 4, 2):
        rates.share_among(replicas)
        clock.at_s += 10  # what was saved under another share is gone after a burst
        count = passed(rates, clock, one, 100, 1 / 512)
        assert count == pytest.approx(100 * 100 / replicas, rel=0.02)
