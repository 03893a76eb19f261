"""Events that carry their own label are learned with the rows of pairs: those that are served."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace

import msgspec
import numpy as np
import pytest
from fake_clock import FakeClock
from hypothesis import given
from hypothesis import strategies as st
from small_shop import START_MS, batch, packed

from freshrank import (
    Count,
    Entity,
    FeatureView,
    Labelled,
    LogisticRegression,
    Pipeline,
    Stream,
    TimeSince,
    col,
)
from freshrank.actors.messages import Floats, Version
from freshrank.actors.protocols import JsonValue, Progress
from freshrank.actors.records import RecordBatch
from freshrank.deploy.config.settings import Settings
from freshrank.deploy.history.records import History
from freshrank.deploy.pipelines.candidates import features_only
from freshrank.deploy.wiring.local import LocalSystem, World
from freshrank.deploy.wiring.replay import replay
from freshrank.feature_actors.connectors.in_memory.log import MemoryLog
from freshrank.feature_actors.partition.partition import PartitionState
from freshrank.feature_actors.settings import ShardSettings

PARTITIONS = 3
PAIR = Entity("user_genre", key=["user", "genre"])


class Play(msgspec.Struct):
    id: str
    user: str
    genre: str | None
    liked: int
    at: int


plays = Stream("plays", id="id", time="at", key=Entity("user", key="user"), schema=Play)


class Playing(FeatureView):
    entity, source = plays.key, plays
    played = Count(windows=["lifetime"])


class OfGenre(FeatureView):
    entity, source = PAIR, plays
    of_genre = Count(windows=["lifetime"])
    likes = Count(where=col.liked == 1, windows=["1m"])
    since = TimeSince()


PIPELINE = Pipeline(
    "plays",
    stream=plays,
    features=[Playing, OfGenre],
    context=["genre"],
    label=Labelled(positive=col.liked == 1),
    model=LogisticRegression(),
)
SETTINGS = ShardSettings()
COLUMNS = [PIPELINE.encoder.layout.dense.index(one) for one in ("of_genre_lifetime", "likes_1m")]

Drawn = tuple[str, str | None, int, bool]
users, names = st.sampled_from(["ann", "bob"]), st.sampled_from(["jazz", "folk:a", "", None])
drawn = st.tuples(users, names, st.integers(0, 40_000), st.booleans())
gone = users.map(lambda user: (user, "gone", 0, False))
logs = st.lists(st.one_of(drawn, drawn, drawn, drawn, gone), max_size=25)


def record_of(number: int, one: Drawn) -> RecordBatch:
    user, genre, after_ms, liked = one
    play = Play(f"e{number}", user, genre, int(liked), START_MS + after_ms)
    value = None if genre == "gone" else msgspec.json.encode(play)
    return replace(batch("plays", [value], number), keys=[user.encode()])


def learned(state: PartitionState) -> Floats:
    """The features of pairs of the newest example."""
    examples = state.example_queue.peek()
    assert examples is not None
    taken = Progress(True, False, state.offsets, state.offsets, Version(1, 1))
    state.example_queue.acknowledge(taken)
    found: Floats = examples.inputs.dense[-1, COLUMNS]
    return found


def served(state: PartitionState, one: Drawn) -> list[float]:
    """The same, of the row that the shards of pairs give to the online store."""
    user, genre, after_ms, _ = one
    (table,) = state.tables
    key = f"{user}:{(genre or '').replace(':', '~1')}"
    row = table.row(key) if genre else None
    rows = table.plan.empty_row if row is None else row
    read = table.plan.read(rows.reshape(1, -1), np.array([START_MS + after_ms]))
    names = table.plan.columns
    return [read.values[0, names.index(one)] for one in ("of_genre_lifetime", "likes_1m")]


@given(log=logs, restart=st.integers(0, 25))
def test_what_is_learned_is_what_would_have_been_served(log: Sequence[Drawn], restart: int) -> None:
    spec = PIPELINE.spec(SETTINGS)
    state = PartitionState(spec, 0)
    (plan,) = PIPELINE.candidate_plans
    pairs = PartitionState(features_only(plan, SETTINGS), 0)
    history = list[Drawn]()
    for number, one in enumerate(log):
        if number == restart:
            state = PartitionState.restore(spec, 0, packed(state))
        wanted = served(pairs, one)
        state.process(record_of(number, one))
        pairs.process(record_of(number, one))
        if one[1] == "gone":
            history = [before for before in history if before[0] != one[0]]
            continue
        count = sum(before[:2] == one[:2] for before in history) if one[1] else 0
        assert wanted[0] == count
        np.testing.assert_allclose(learned(state), np.log1p(wanted), rtol=1e-6)
        history.append(one)


def made(count: int) -> list[Play]:
    """Who likes a genre likes it always, which neither user nor genre tells alone."""
    random = np.random.default_rng(5)
    found = []
    for number in range(count):
        user, genre = random.integers(0, 12).tolist(), random.integers(0, 4).tolist()
        liked = int((user + genre) % 4 == 0)
        at_ms = START_MS + number * 100
        found.append(Play(f"p{number}", f"u{user}", f"g{genre}", liked, at_ms))
    return found


def history_of(plays: Sequence[Play]) -> History:
    return History(
        [one.user.encode() for one in plays],
        [msgspec.json.encode(one) for one in plays],
        np.array([one.at for one in plays], np.int64),
    )


def test_a_replay_learns_from_the_features_of_pairs() -> None:
    history = history_of(made(1_500))
    with_pairs = asyncio.run(replay(PIPELINE, history))
    without = asyncio.run(replay(replace(PIPELINE, features=[Playing]), history))
    assert with_pairs["examples"] == without["examples"] == 1_500
    assert isinstance(with_pairs["auc"], float) and isinstance(without["auc"], float)
    assert with_pairs["auc"] > without["auc"] + 0.2


def test_a_system_of_several_partitions_learns_and_serves_them() -> None:
    async def play() -> None:
        events = made(1_500)
        world = World(MemoryLog(PARTITIONS), FakeClock(events[-1].at))
        system = LocalSystem(PIPELINE, Settings(), world)
        await system.start()
        history = history_of(events)
        world.log.distribute("plays", history.keys, history.values, history.times_ms)
        await system.drain()
        assert (await system.status())["examples"] == 1_500
        genres: list[JsonValue] = [{"genre": f"g{number}"} for number in range(4)]
        scores = (await system.score({"user": "u3", "candidates": genres})).scores
        assert scores[1] == pytest.approx(max(one or 0.0 for one in scores))
        await system.stop()

    asyncio.run(play())
