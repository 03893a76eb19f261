"""A snapshot that is copied little by little is the state of its moment, whatever happens."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TypeAlias

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from small_shop import LABELLED, START_MS, batch, event, impression, packed, spec

from freshrank.actors.messages import Version
from freshrank.actors.protocols import Progress
from freshrank.actors.snapshots.frozen import text_arrays, texts_of
from freshrank.feature_actors.labels import pair_pool as pool
from freshrank.feature_actors.partition.partition import PartitionState
from freshrank.feature_actors.state import hash_table
from freshrank.feature_actors.state import row_table as table
from freshrank.feature_actors.state.table_copy import RowMemory

JOINED_SHOP, LABELLED_SHOP = spec(max_entities=6), spec(LABELLED, max_entities=6)


@pytest.fixture(autouse=True, scope="module")
def everything_is_small() -> Iterator[None]:
    """So that tables grow, move and are rebuilt within a few batches."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(table, "LEAST_ROWS", 2)
        patch.setattr(hash_table, "LEAST_SLOTS", 4)
        patch.setattr(pool, "LEAST_PAIRS", 2)
        yield


class Life:
    """A partition, and what may happen to it."""

    def __init__(self, *, joined: bool, seed: int) -> None:
        self.spec = JOINED_SHOP if joined else LABELLED_SHOP
        self.state = PartitionState(self.spec, 0)
        self._random = np.random.default_rng(seed)
        self._at_ms = 1_000

    def happen(self, what: str, size: int) -> None:
        getattr(self, f"_{what}")(size)

    def _events(self, size: int) -> None:
        random, begin = self._random, self.state.offsets["events"]
        self._at_ms += int(random.integers(0, 20_000))
        values = [
            event(
                int(random.integers(0, 60)),
                f"u{random.integers(0, 15)}",
                "order" if random.random() < 0.4 else "view",
                int(random.integers(1, 4)),
                self._at_ms + int(random.integers(-3_000, 1)),
            )
            for _ in range(size)
        ]
        self.state.process(batch("events", values, begin, [self._at_ms] * size))

    def _shown(self, size: int) -> None:
        if len(self.spec.topics) == 1:
            return
        random = self._random
        values = [
            impression(
                self.spec,
                f"u{random.integers(0, 15)}",
                random.integers(1, 4, 2).tolist(),
                self._at_ms,
            )
            for _ in range(size)
        ]
        self.state.process(
            batch("shown", values, self.state.offsets["shown"], [self._at_ms] * size)
        )

    def _evict(self, _: int) -> None:
        self.state.tables[0].evict(self._at_ms + START_MS)

    def _written(self, size: int) -> None:
        self.state.tables[0].dirty.take(size)
        self.state.tables[0].evicted = []

    def _learned(self, _: int) -> None:
        offered = self.state.example_queue.peek()
        if offered is not None:
            end = offered.offset_range.end
            self.state.example_queue.acknowledge(Progress(True, False, end, end, Version(1, 1)))

    def _forgotten(self, _: int) -> None:
        if self.state.joiner is not None:
            self.state.joiner.all_shown_until(START_MS + self._at_ms)


Happenings: TypeAlias = list[tuple[str, int]]
happenings = st.lists(
    st.tuples(
        st.sampled_from(["events", "shown", "evict", "written", "learned", "forgotten"]),
        st.integers(1, 12),
    ),
    max_size=12,
)


@settings(deadline=None, max_examples=120)
@given(
    st.booleans(),
    st.integers(0, 1_000),
    happenings,
    st.lists(st.tuples(happenings, st.integers(0, 5)), max_size=8),
)
def test_a_snapshot_is_the_state_of_its_moment_whatever_happens_between_its_slices(
    joined: bool,
    seed: int,
    before: Happenings,
    slices: list[tuple[Happenings, int]],
) -> None:
    life = Life(joined=joined, seed=seed)
    for what, size in [("events", 10), *before]:
        life.happen(what, size)
    expected = packed(life.state)
    memory = RowMemory(life.spec.plan.tables[0].row_words)
    memory.reserve(seed % 12)  # enough, or not
    under_way = {"user/events": life.state.tables[0].dirty.take(2)}
    snapshot = life.state.snapshot(under_way, {"user/events": memory})
    for happening, rows in slices:
        for what, size in happening:
            life.happen(what, size)
        snapshot.copy_rows(rows * life.spec.plan.bytes_per_entity)
    snapshot.copy_rows(None)
    assert b"".join(snapshot.pieces()) == expected
    assert packed(PartitionState.restore(life.spec, 0, expected)) == expected


def test_reserved_memory_is_used_again_and_again() -> None:
    memory = RowMemory(words=3)
    memory.reserve(16)
    first, second = memory.take(16), memory.take(18)
    assert np.shares_memory(first, second)
    assert first.shape == (16, 3)
    memory.reserve(17)
    assert np.shares_memory(memory.take(1), first)
    assert not np.shares_memory(memory.take(19), first)


def test_a_second_snapshot_finishes_the_first() -> None:
    life = Life(joined=True, seed=1)
    life.happen("events", 10)
    first, expected = life.state.snapshot(), packed(life.state)
    life.happen("events", 10)
    second = life.state.snapshot()
    life.happen("events", 10)
    assert b"".join(first.pieces()) == expected
    assert second.copy_rows(None)
    assert b"".join(second.pieces()) != expected


texts = st.lists(st.text(st.sampled_from("ab\0äé日\U0001f600"), max_size=4))


@given(texts)
def test_texts_come_back_from_arrays(given_texts: list[str]) -> None:
    assert texts_of(*text_arrays(given_texts)) == given_texts


@pytest.mark.parametrize("count", [0, 1, 4_095, 4_096, 4_097, 9_000])
def test_many_texts_come_back_from_arrays(count: int) -> None:
    many = [f"u{number}" for number in range(count)]
    assert texts_of(*text_arrays(many)) == many
