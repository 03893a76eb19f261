import asyncio

import pytest

from freshrank.actors.errors import Unavailable
from freshrank.benchmarks.polling import Standstill, wait_for


def test_polling_ends_with_the_first_true_result() -> None:
    results = iter([None, 0, "", "ready", "later"])

    async def poll() -> object:
        return next(results)

    assert asyncio.run(wait_for(poll, 60.0, "shard", "not ready", interval_s=0.0)) == "ready"
    assert next(results) == "later"


def test_a_condition_that_never_holds_is_named_with_its_part() -> None:
    async def poll() -> bool:
        return False

    with pytest.raises(Unavailable, match=r"^shard: it has no epoch after 0 s$") as raised:
        asyncio.run(wait_for(poll, 0.0, "shard", "it has no epoch", interval_s=0.0))
    assert raised.value.part == "shard"


def test_a_wait_ends_when_nothing_has_moved_for_too_long() -> None:
    still = Standstill("shard", longest_s=30.0)
    for now_s, applied in [(100.0, 1), (129.0, 1), (130.0, 2), (159.0, 2)]:
        still.check({"applied": applied, "late": 0}, now_s)
    with pytest.raises(
        Unavailable, match=r"^shard: nothing has moved for 30 s: applied 2, late 0$"
    ):
        still.check({"applied": 2, "late": 0}, 160.0)
