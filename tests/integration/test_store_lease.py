"""On one Redis, one run at a time writes the rows of a pipeline's name."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import msgspec
import pytest
import redis
from whole_system import PATIENCE_S

from freshrank.actors.errors import ConfigError, ProgressError, Unavailable
from freshrank.actors.messages import BEGINNING
from freshrank.deploy.state.store_lease import StoreLease
from freshrank.feature_actors.connectors.redis import lease as leases
from freshrank.feature_actors.connectors.redis.lease import LeaseHolder, RunLease
from freshrank.feature_actors.connectors.redis.online_store import RedisStore

FIRST = LeaseHolder("1", "host", "boot", "/state/a", 11, 1_700_000_000_000)
ELSEWHERE = msgspec.structs.replace(FIRST, run="2", folder="/state/b")
RESTARTED = msgspec.structs.replace(FIRST, run="3", process=13)
OTHER_MACHINE = msgspec.structs.replace(RESTARTED, machine="another boot")
SHORT_S = 0.2


class Scene:
    """Connections to one Redis, which are closed when the story is over."""

    def __init__(self, redis_url: str, name: str) -> None:
        self.url = redis_url
        self.name = name
        self._made: list[RunLease | RedisStore] = []

    def lease(self, holder: LeaseHolder, lease_s: float = leases.LEASE_S) -> RunLease:
        made = RunLease(self.url, self.name, holder, lease_s)
        self._made.append(made)
        return made

    def store(self, origin: str | None) -> RedisStore:
        made = RedisStore(self.url, self.name, origin)
        self._made.append(made)
        return made

    def play(self, story: Callable[[], Awaitable[None]]) -> None:
        async def play() -> None:
            try:
                await story()
            finally:
                for one in self._made:
                    await one.close()

        asyncio.run(play())


@pytest.fixture
def scene(redis_url: str, fresh_name: str) -> Scene:
    return Scene(redis_url, fresh_name)


def test_a_second_run_is_refused_by_name_while_the_first_lives(
    redis_url: str, fresh_name: str, tmp_path: Path
) -> None:
    async def story() -> None:
        first = StoreLease(redis_url, fresh_name, tmp_path / "a", lambda: None)
        second = StoreLease(redis_url, fresh_name, tmp_path / "b", lambda: None)
        await first.acquire()
        with pytest.raises(ConfigError, match=r"process \d+ of .*/a, since 20\d\d-") as refused:
            await second.acquire()
        assert fresh_name in str(refused.value)
        other_name = StoreLease(redis_url, f"{fresh_name}-2", tmp_path / "b", lambda: None)
        await other_name.acquire()
        await other_name.release()
        first.check()
        await first.release()
        await second.acquire()  # at once after an orderly end
        await second.release()

    asyncio.run(story())


def test_a_lease_that_is_not_renewed_is_free_after_its_time(scene: Scene) -> None:
    async def story() -> None:
        first, second = scene.lease(FIRST, SHORT_S), scene.lease(ELSEWHERE, SHORT_S)
        assert await first.acquire() is None
        assert await second.acquire() == FIRST
        async with asyncio.timeout(PATIENCE_S):
            while await second.acquire() is not None:  # noqa: ASYNC110
                await asyncio.sleep(0.02)
        assert await first.acquire() == ELSEWHERE
        await first.release()
        assert await first.acquire() == ELSEWHERE, "only the holder gives it back"

    scene.play(story)


def test_a_run_on_the_state_of_one_that_was_killed_has_its_lease_at_once(
    scene: Scene,
) -> None:
    async def story() -> None:
        assert await scene.lease(FIRST).acquire() is None
        assert await scene.lease(OTHER_MACHINE).acquire() == FIRST
        assert await scene.lease(RESTARTED).acquire() is None
        assert await scene.lease(FIRST).acquire() is None

    scene.play(story)


def test_a_run_whose_lease_another_run_has_taken_is_told(
    redis_url: str, fresh_name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(leases, "RENEW_S", 0.01)

    async def story() -> None:
        lost = asyncio.Event()
        first = StoreLease(redis_url, fresh_name, tmp_path, lost.set)
        await first.acquire()
        with redis.Redis.from_url(redis_url) as client:
            client.flushdb()
            async with asyncio.timeout(PATIENCE_S):  # a Redis that forgot the lease gets it again
                while client.get(f"{fresh_name}:run") is None:  # noqa: ASYNC110
                    await asyncio.sleep(0.01)
            client.set(f"{fresh_name}:run", msgspec.json.encode(ELSEWHERE))
        async with asyncio.timeout(PATIENCE_S):
            await lost.wait()
        with pytest.raises(ProgressError, match="process 11 of host, with its state in /state/b"):
            first.check()
        await first.release()

    asyncio.run(story())


def test_rows_of_another_log_or_state_are_no_answers(scene: Scene) -> None:
    async def story() -> None:
        before = scene.store("one")
        assert await before.claim(0, 9) is None
        await before.write(0, 9, BEGINNING, [b"user"], b"40")
        now = scene.store("two")
        assert (await now.read([b"user"])).rows == [None]
        assert await now.claim(0, 5) is None, "nothing of before is in the way of the first event"
        await now.write(0, 5, BEGINNING, [b"user"], b"01")
        assert (await now.read([b"user"])).rows == [b"01"]
        assert (await before.read([b"user"])).rows == [b"40"]

    scene.play(story)


def test_a_reader_that_no_run_has_started_follows_the_run_that_writes(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("freshrank.feature_actors.connectors.redis.online_store.ORIGIN_S", 0.0)

    async def story() -> None:
        reader = scene.store(None)
        with pytest.raises(Unavailable, match="no run has written rows"):
            await reader.read([b"user"])
        run = scene.lease(FIRST)
        assert await run.acquire() is None
        for origin, row in (("one", b"40"), ("two", b"01")):
            await run.publish(origin)
            writer = scene.store(origin)
            await writer.claim(0, 1)
            await writer.write(0, 1, BEGINNING, [b"user"], row)
            assert (await reader.read([b"user"])).rows == [row]

    scene.play(story)
