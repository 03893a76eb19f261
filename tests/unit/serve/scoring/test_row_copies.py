"""Copies of candidates' rows in a replica."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import numpy as np
import pytest
from fake_clock import FakeClock
from serving import FakeFeatures

from freshrank.actors.errors import Unavailable
from freshrank.actors.features.service import Candidates, RowLookup
from freshrank.actors.protocols import StoreRead
from freshrank.feature_actors.connectors.in_memory.stores import MemoryStore
from freshrank.serve.scoring import row_copies
from freshrank.serve.scoring.feature_reader import FeatureReader, StoredRow
from freshrank.serve.scoring.row_copies import FoundRows, RowCopies


class WatchedStore(MemoryStore):
    """Notes what is read."""

    def __init__(self) -> None:
        super().__init__()
        self.reads: list[list[bytes]] = []
        self.away = False
        self.clock: FakeClock | None = None
        """Moves by a second with each read."""

    async def read(self, keys: Sequence[bytes]) -> StoreRead:
        self.reads.append(list(keys))
        if self.away:
            raise Unavailable("redis", "away")
        if self.clock is not None:
            self.clock.advance(1.0)
        return await super().read(keys)


class Scene:
    def __init__(self, keep_ms: int = 100) -> None:
        self.clock, self.store = FakeClock(), WatchedStore()
        reader = FeatureReader(self.store, self.clock, 1.0, partitions=0)
        self.copies = RowCopies(reader, self.clock, keep_ms)

    async def read(
        self, own: list[bytes], others: list[bytes], own_rows: Sequence[StoredRow] = ()
    ) -> FoundRows:
        which = np.arange(len(others))
        lookups = [RowLookup("user", "clicks", own, np.zeros(len(others), dtype=np.int64))]
        if others:
            lookups.append(RowLookup("item", "rows", others, which))
        return await self.copies.read("user", lookups, own_rows)


def test_the_rows_of_candidates_are_read_again_after_their_time_only() -> None:
    async def test() -> None:
        scene = Scene()
        scene.store.rows = {b"user": b"1", b"a": b"2"}
        found = await scene.read([b"user"], [b"a", b"b"])
        assert [(one.row, one.source) for one in found.rows] == [
            (b"1", "online"),
            (b"2", "online"),
            (None, "new"),
        ]
        assert found.ages_ms == [0, 0]
        scene.clock.advance(0.05)
        scene.store.rows = {b"user": b"7", b"a": b"8", b"b": b"9"}
        found = await scene.read([b"user"], [b"b", b"a"])
        assert [one.row for one in found.rows] == [b"7", None, b"2"]
        assert found.ages_ms == [50, 50]
        scene.clock.advance(0.05)
        found = await scene.read([b"user"], [b"b", b"a"])
        assert [one.row for one in found.rows] == [b"7", b"9", b"8"]
        assert scene.store.reads == [[b"user", b"a", b"b"], [b"user"], [b"user", b"b", b"a"]]

    asyncio.run(test())


def test_with_0_ms_every_row_is_read() -> None:
    async def test() -> None:
        scene = Scene(keep_ms=0)
        for _ in range(2):
            await scene.read([b"user"], [b"a"])
        assert scene.store.reads == [[b"user", b"a"]] * 2

    asyncio.run(test())


def test_what_an_outage_gives_is_not_kept() -> None:
    async def test() -> None:
        scene = Scene()
        scene.store.away = True
        found = await scene.read([b"user"], [b"a"])
        assert [one.source for one in found.rows] == ["outage", "outage"]
        scene.store.away = False
        scene.store.rows = {b"a": b"2"}
        found = await scene.read([b"user"], [b"a"])
        assert [one.row for one in found.rows] == [None, b"2"]

    asyncio.run(test())


def test_copies_are_bounded() -> None:
    async def test() -> None:
        scene = Scene()
        many = [b"%d" % number for number in range(row_copies.MOST_COPIES + 1)]
        await scene.read([b"user"], many)
        await scene.read([b"user"], [many[0], many[-1]])
        assert scene.store.reads[-1] == [b"user", many[0]], "the first has been dropped"

    asyncio.run(test())


def test_rows_of_the_entity_that_were_just_read_are_read_again_with_others_only() -> None:
    async def test() -> None:
        scene = Scene()
        scene.store.rows = {b"user": b"1", b"a": b"2"}
        just_read = [StoredRow(b"0", "online")]
        found = await scene.read([b"user"], [], just_read)
        assert (found.own, found.ages_ms) == (just_read, [])
        assert scene.store.reads == []
        found = await scene.read([b"user"], [b"a"], just_read)
        assert [one.row for one in found.rows] == [b"1", b"2"]
        found = await scene.read([b"user"], [b"a"], just_read)
        assert [one.row for one in found.rows] == [b"0", b"2"], "of the candidate there is a copy"
        assert scene.store.reads == [[b"user", b"a"]]

    asyncio.run(test())


class Pairs(FakeFeatures):
    """The row of an item is the part of the key of the user's row for it."""

    def lookups(self, key: str, candidates: Candidates) -> Sequence[RowLookup]:
        which = np.arange(len(candidates["item_id"]))
        own = RowLookup("user", "events", [b"user"], np.zeros(len(which), dtype=np.int64))
        items = [f"item:{one}".encode() for one in candidates["item_id"]]
        return [own, RowLookup("item", "catalogue", items, which, leads=True)]

    def following(
        self,
        leading: Sequence[RowLookup],
        rows: Sequence[bytes | None],
        key: str,
        candidates: Candidates,
    ) -> Sequence[RowLookup]:
        keys = [b"pair:" + (row or b"") for row in rows]
        return [RowLookup("pair", "pairs", keys, np.arange(len(keys)), shared=False)]


@pytest.mark.parametrize("keep_ms", [100, 0])
def test_rows_that_lead_to_others_are_read_first_unless_there_are_copies(keep_ms: int) -> None:
    async def test() -> None:
        scene = Scene(keep_ms)
        scene.store.rows = {b"user": b"1", b"item:7": b"x", b"pair:x": b"2"}
        for _ in range(2):
            found = await scene.copies.of_request(Pairs(), "ann", {"item_id": [7]})
            assert [one.row for one in found.found.rows] == [b"1", b"x", b"2"]
            assert [one.row for one in found.found.own] == [b"1"]
            assert [one.table for one in found.lookups] == ["events", "catalogue", "pairs"]
        second = [[b"user", b"pair:x"]] if keep_ms else [[b"item:7"], [b"user", b"pair:x"]]
        assert scene.store.reads == [[b"item:7"], [b"user", b"pair:x"], *second]

    asyncio.run(test())


def test_a_row_that_a_slow_request_has_read_is_no_old_copy() -> None:
    async def test() -> None:
        scene = Scene()
        scene.store.clock = scene.clock
        scene.store.rows = {b"user": b"1", b"item:7": b"x", b"pair:x": b"2"}
        found = await scene.copies.of_request(Pairs(), "ann", {"item_id": [7]})
        assert found.found.ages_ms == [0, 0]

    asyncio.run(test())


def test_rows_that_no_other_entity_needs_are_not_kept() -> None:
    async def test() -> None:
        scene = Scene()
        which = np.zeros(1, dtype=np.int64)
        own = RowLookup("user", "clicks", [b"user"], which)
        pair = RowLookup("pair", "pairs", [b"pair"], which, shared=False)
        for row in (b"1", b"2"):
            scene.store.rows = {b"pair": row}
            found = await scene.copies.read("user", [own, pair])
            assert (found.rows[1].row, found.ages_ms) == (row, [0])

    asyncio.run(test())
