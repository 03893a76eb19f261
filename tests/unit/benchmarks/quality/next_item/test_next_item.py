"""What the bench of next items asks for, and what it says of the answers."""

from __future__ import annotations

import asyncio
from pathlib import Path

import numpy as np
import pytest
from bench_figures import by_name

from freshrank.actors.errors import ConfigError
from freshrank.benchmarks.quality.next_item import bench
from freshrank.benchmarks.quality.next_item.interactions import (
    Touch,
    interactions,
    read_interactions,
)
from freshrank.benchmarks.quality.next_item.list_quality import ListQuality, quality_of
from freshrank.benchmarks.quality.next_item.live_system import LiveSystem, TouchClock
from freshrank.benchmarks.quality.next_item.pipeline import pipeline


def touch(user: str, item: int, at_s: int) -> Touch:
    return Touch(user, item, "a", "view", 1_000_000_000_000 + at_s * 1_000)


def test_ours_has_to_be_ahead_of_the_best_of_the_others() -> None:
    qualities = {
        "freshrank": ListQuality(0.3, 0.01, 0.1, 9.0),
        "popularity": ListQuality(0.1, 0.01, 0.05, 1.0),
        "item_knn": ListQuality(0.2, 0.01, 0.12, 1.0),
    }
    found = by_name(bench.figures("movielens", qualities))
    assert found["movielens_recall_at_20"].reach == 0.2
    assert found["movielens_recall_at_20"].met
    assert found["movielens_ndcg_at_20"].met is False
    assert found["movielens_ndcg_at_20_item_knn"].value == 0.12


def test_no_lists_have_no_quality() -> None:
    assert np.isnan(quality_of(np.array([], dtype=np.int64), 1.0).recall)


def test_lists_are_judged_after_the_warm_up_and_of_users_who_are_known() -> None:
    touches = [touch("uv"[number % 2], number, number) for number in range(20)]
    found = interactions("two", touches[::-1], 2, repeats=True)
    assert [one.item for one in found.touches] == list(range(20)), "the oldest first"
    assert not found.asked[:2].any(), "of new users every fifth"
    assert found.asked[2:].sum() == 9
    assert not found.judged[:4].any()
    assert found.judged[4:].tolist() == found.asked[4:].tolist()


def test_movielens_is_read_with_the_genres_of_its_films(tmp_path: Path) -> None:
    (tmp_path / "ml-100k.inter").write_text(
        "user_id:token\titem_id:token\trating:float\ttimestamp:float\n"
        "196\t242\t3\t881250949\n186\t302\t4\t881250940\n"
    )
    (tmp_path / "ml-100k.item").write_text(
        "item_id:token\tmovie_title:token_seq\trelease_year:token\tclass:token_seq\n"
        '242\tKolya "x\t1996\tComedy\n302\tL.A. Confidential\t1997\tCrime Film-Noir\n'
    )
    (found,) = read_interactions(tmp_path)
    assert list(found.touches) == [
        Touch("186", 302, "Crime Film-Noir", "4", 881_250_940_000),
        Touch("196", 242, "Comedy", "3", 881_250_949_000),
    ]
    assert found.items().tolist() == found.users().tolist() == found.categories().tolist() == [0, 1]
    assert not found.repeats


def test_a_folder_without_the_data_is_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"neither bo_action\.parquet nor ml-100k\.inter"):
        read_interactions(tmp_path)


def test_who_sleeps_wakes_when_the_bench_has_moved_the_time() -> None:
    async def run() -> list[float]:
        clock, woken = TouchClock(), list[float]()

        async def sleep(seconds: float) -> None:
            await clock.sleep(seconds)
            woken.append(seconds)

        async with asyncio.TaskGroup() as tasks:
            for seconds in (3.0, 1.0):
                tasks.create_task(sleep(seconds))
            for _ in range(4):
                await asyncio.sleep(0)
            assert not woken, "no time passes by itself"
            clock.pass_by(1.0)
            for _ in range(4):
                await asyncio.sleep(0)
            assert woken == [1.0]
            clock.pass_by(2.0)
        return woken

    assert asyncio.run(run()) == [1.0, 3.0]


@pytest.mark.parametrize("repeats", [False, True])
def test_the_live_system_recommends_what_users_touched_next(repeats: bool) -> None:
    async def run() -> tuple[list[int], int]:
        system = LiveSystem(pipeline, 20, repeats=repeats)
        await system.start()
        for number, user in enumerate("uvwxy"):
            for item in (1, 2, 3, 4 + number):
                system.touch(touch(user, item, 100 * number + item))
        system.touch(touch("me", 1, 1_000))
        system.touch(touch("me", 2, 1_001))
        await system.learn()
        await system.learn()  # rows of items that were new are read now
        found = list(await system.recommend("me", touch("me", 3, 1_002).at_ms, 20))
        system.touch(touch("me", 3, 1_002))
        await system.learn()
        status = await system.system.status()
        await system.stop()
        examples = status["examples"]
        assert isinstance(examples, int)
        return found, examples

    found, examples = asyncio.run(run())
    assert set(found) == {*range(3, 9), *([1, 2] if repeats else [])}
    assert examples >= len(found), "what was shown is learned from"
