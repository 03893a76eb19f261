"""When a shard is behind, and when it is not."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from fake_clock import FakeClock

from freshrank.actors.alerts import Alerts
from freshrank.feature_actors.reading.lag_watch import LagWatch


def told(read: Callable[[int], float], lag: Callable[[int], float], seconds: int = 180) -> int:
    """Alerts after so many seconds, in each of which it was asked."""
    alerts = Alerts("shard-0", FakeClock())
    watch = LagWatch(alerts)
    for second in range(seconds):
        watch.update(int(read(second)), int(lag(second)), float(second))
    by_kind = alerts.status()["by_kind"]
    assert isinstance(by_kind, dict)
    count = by_kind.get("behind", 0)
    assert isinstance(count, int)
    return count


@pytest.mark.parametrize(
    ("read", "lag", "alerts"),
    [
        (lambda s: 600 * s, lambda s: 400 * s, 1),
        (lambda s: 600 * s, lambda s: 2_000, 0),  # it keeps up, three seconds behind
        (lambda s: 600 * s, lambda s: 50_000 - 200 * s, 0),  # it catches up
        (lambda s: 600 * s, lambda s: 40_000 if 50 < s < 90 else 0, 0),  # a burst
        (lambda s: 5 * s, lambda s: s % 30, 0),  # a quiet topic, read in turns
        (lambda s: 0, lambda s: 100 * s, 0),  # nothing is read: that is stalled
    ],
    ids=["slower", "level", "faster", "burst", "quiet", "stalled"],
)
def test_it_is_behind_where_what_waits_grows_and_takes_long(
    read: Callable[[int], float], lag: Callable[[int], float], alerts: int
) -> None:
    assert told(read, lag) == alerts


def test_what_is_of_other_records_is_not_compared() -> None:
    watch = LagWatch()
    for second in range(120):
        if second == 70:
            watch.forget()
        watch.update(100 * second, 0 if second < 70 else 90_000 + second, float(second))
    assert not watch.behind


def test_it_is_told_again_after_it_has_caught_up() -> None:
    alerts = Alerts("shard-0", FakeClock())
    watch = LagWatch(alerts)
    lag = 0
    for second in range(600):
        lag = max(0, lag + (400 if second % 300 < 100 else -900))
        watch.update(600 * second, lag, float(second))
    assert alerts.status()["by_kind"] == {"behind": 2}
