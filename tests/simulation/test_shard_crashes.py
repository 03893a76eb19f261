"""A shard that crashes at any call and starts again ends as one that never crashed."""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import asdict, dataclass, replace
from functools import cache

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from shard_world import World, features, run
from small_shop import (
    JOINED,
    LABELLED,
    LATER,
    USER_ITEM,
    item_spec,
    spec,
    table_spec,
    with_items_beside,
    with_pairs_beside,
)

from freshrank.actors.errors import Unavailable
from freshrank.benchmarks.crashes.invariants import Example
from freshrank.benchmarks.crashes.process import (
    Crash,
    CrashSchedule,
    Process,
    current_process,
)

SECONDS = 60
# Tests that the calls at which a shard can crash are shared out among.
PARTS = 2


@dataclass
class End:
    features: dict[str, bytes]
    examples: Counter[Example]
    stored: dict[bytes, bytes]
    calls: int
    dead: int
    forgotten: set[int]
    """The ids whose rows the learner let begin again."""
    counted: Counter[str]
    """What became of the records of all partitions."""


async def finish(world: World) -> End:
    """Let a new shard read everything, without a crash."""
    process = Process("shard", CrashSchedule())
    token = current_process.set(process)
    shard = world.shard()
    await shard.start()
    await world.until_read(shard)
    current_process.reset(token)
    calls = len(process.schedule.passed) // 2
    return End(
        features(shard),
        world.learner.examples(),
        dict(world.store.rows),
        calls,
        len({(one.topic, one.partition, one.offset) for _, one in world.sink.rejected}),
        world.learner.forgotten(),
        sum((Counter(asdict(state.counters)) for state in shard.states.values()), Counter()),
    )


SPECS = {
    "joined": spec(),
    "listwise": spec(replace(JOINED, listwise=True)),
    "labelled": spec(LABELLED),
    "known later": with_items_beside(spec(LATER, max_entities=3)),
    "pairs beside": with_pairs_beside(spec(LABELLED, max_entities=6)),
    "two streams": spec(two_streams=True, max_entities=5),
    "table": table_spec(),
    "full table": table_spec(max_entities=5),
    "owned": item_spec(entity=USER_ITEM),
}


@cache
def undisturbed(name: str) -> End:
    """Where a run with these definitions ends without a crash."""
    found: list[End] = []

    async def test() -> None:
        world = World(SPECS[name])
        world.fill(SECONDS)
        found.append(await finish(world))

    run(test)
    return found[0]


def same(end: End, wanted: End) -> None:
    assert end.examples == wanted.examples
    assert set(end.examples.values()) <= {1}
    assert end.features == wanted.features
    assert end.stored == wanted.stored
    assert end.dead == wanted.dead
    assert end.forgotten == wanted.forgotten
    assert end.counted == wanted.counted


async def crash_once(world: World, at: int, after: bool) -> None:
    """Run until the crash before or after call `at`, or for 60 steps; then drop the shard."""
    token = current_process.set(Process("shard", CrashSchedule([2 * at + after])))
    try:
        shard = world.shard()
        await shard.start()
        for _ in range(60):
            await shard.step()
            world.clock.ms += 250
    except (Crash, Unavailable):
        pass
    finally:
        current_process.reset(token)


def test_the_undisturbed_run_is_worth_comparing_with() -> None:
    joined, both = undisturbed("joined"), undisturbed("two streams")
    labels = Counter(key[3] for key in joined.examples)
    assert labels[0.0] > 5 and labels[1.0] > 5
    slates = Counter(key[3] for key in undisturbed("listwise").examples)
    assert 5 < slates[1.0] <= labels[1.0] and slates[0.0] > 5
    assert len(undisturbed("labelled").examples) == 2 * SECONDS
    assert len(joined.features) == 8
    assert joined.dead > 3
    assert 100 < joined.calls < 1_000
    assert len(joined.forgotten) > 3
    assert min(joined.counted["forgotten"], joined.counted["forgotten_unknown"]) > 3
    assert both.counted["forgotten"] > joined.counted["forgotten"] + 1
    tables = Counter(name.rpartition("/")[0] for name in both.features)
    assert set(tables) == {"user/events", "user/visits"}
    assert len(both.examples) == len(joined.examples), "the second stream has no part in the join"
    assert min(both.counted["late"], both.counted["duplicates"], both.counted["evicted"]) > 3
    table, full = undisturbed("table"), undisturbed("full table")
    assert min(table.counted["tombstones"], table.counted["tombstones_unknown"]) > 3
    assert min(table.counted["table_rows"], table.counted["dead_table_rows"], table.dead) > 3
    assert 5 < len(table.features) == len(table.stored), "deleted rows have left the store too"
    assert full.counted["evicted"] > 3
    owned = undisturbed("owned")
    assert owned.counted["events"] > 50
    assert owned.counted["forgotten"] > 1 and len(owned.features) > 8
    assert len(owned.stored) == len(owned.features), "those of who is forgotten have left it"
    later = undisturbed("known later")
    assert 50 < later.examples.total() < 2 * SECONDS - 20, "some wait still, or are forgotten"
    assert later.counted["evicted"] > undisturbed("labelled").counted["evicted"], "items, too"
    assert later.counted["forgotten"] > 3
    pairs = undisturbed("pairs beside")
    assert pairs.counted["evicted"] > undisturbed("labelled").counted["evicted"]
    assert min(pairs.counted["forgotten"], pairs.counted["examples"]) > 3
    assert owned.dead == 0, "the shards of users tell what is rejected"


@pytest.mark.repeats
@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("part", range(PARTS))
@pytest.mark.parametrize(
    ("name", "share"),
    [
        ("joined", 5),
        ("listwise", 11),
        ("two streams", 41),
        ("table", 9),
        ("full table", 23),
        ("owned", 11),
        ("known later", 11),
        ("pairs beside", 11),
    ],
)
def test_a_shard_that_crashes_at_any_call_ends_where_it_would_have_ended(
    name: str, share: int, part: int, after: bool
) -> None:
    """Each part, and each run of the tests, tries others of the calls, for the sake of time."""
    wanted = undisturbed(name)

    async def test() -> None:
        first = PARTS * random.randrange(share) + part
        for at in range(first, wanted.calls, PARTS * share):
            world = World(SPECS[name])
            world.fill(SECONDS)
            await crash_once(world, at, after)
            same(await finish(world), wanted)

    run(test)


@dataclass
class Episode:
    """A run of a shard up to its crash, and what happens to the parts around it."""

    at: int
    """The number of the call at which it crashes."""
    after: bool
    learner: str
    """``save``: checkpoint before the run; ``crash``: crash after it; ``both``: both after it."""
    away: str
    """The part that is away during the run, if any."""


crashes = st.lists(
    st.builds(
        Episode,
        st.integers(0, 300),
        st.booleans(),
        st.sampled_from(["", "save", "crash", "both"]),
        st.sampled_from(["", "", "store", "sink", "learner"]),
    ),
    max_size=6,
)


async def crash_and_compare(world: World, plan: list[Episode], wanted: End) -> None:
    world.fill(SECONDS)
    for episode in plan:
        if episode.learner == "save":
            world.learner.checkpoint()
        world.away(episode.away)
        await crash_once(world, episode.at, episode.after)
        world.away("")
        if episode.learner == "both":
            world.learner.checkpoint()
        if episode.learner in ("crash", "both"):
            world.learner.crash()
    same(await finish(world), wanted)


@pytest.mark.repeats
@settings(deadline=None, max_examples=20)
@given(crashes)
def test_shard_and_learner_may_crash_again_and_again(plan: list[Episode]) -> None:
    wanted = undisturbed("joined")
    run(lambda: crash_and_compare(World(), plan, wanted))


@pytest.mark.repeats
@settings(deadline=None, max_examples=8)
@given(st.sampled_from(["labelled", "known later"]), crashes)
def test_events_with_labels_of_their_own_are_learned_once_whoever_crashes(
    name: str, plan: list[Episode]
) -> None:
    wanted = undisturbed(name)
    run(lambda: crash_and_compare(World(SPECS[name]), plan, wanted))


@pytest.mark.repeats
@settings(deadline=None, max_examples=15)
@given(
    st.sampled_from(["joined", "listwise", "two streams", "full table", "owned", "known later"]),
    crashes,
    st.integers(1, 50),
)
def test_batches_of_another_size_after_each_crash_change_nothing(
    name: str, plan: list[Episode], at_once: int
) -> None:
    wanted = undisturbed(name)
    run(lambda: crash_and_compare(World(SPECS[name], at_once=at_once), plan, wanted))
