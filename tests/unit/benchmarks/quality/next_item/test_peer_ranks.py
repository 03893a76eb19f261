"""What the other rankers gave is kept, and computed anew for other touches."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np

from freshrank.benchmarks.quality.next_item.interactions import Touch, interactions
from freshrank.benchmarks.quality.next_item.peer_ranks import WrittenRanks, peer_ranks

PLAYED = interactions(
    "two", [Touch("uv"[n % 2], n % 3, "a", "view", n) for n in range(12)], 1, repeats=True
)


class Script:
    """Stands for the script of the other rankers: ranks everything first."""

    def __init__(self) -> None:
        self.runs = 0

    def run(self, script: Path, arguments: Sequence[str]) -> None:
        self.runs += 1
        (given,) = map(Path, arguments)
        with np.load(given) as arrays:
            ranks = [1] * int(arrays["asked"].sum())
        found = {"popularity": WrittenRanks(ranks, 0.5)}
        given.with_suffix(".ranks.json").write_bytes(msgspec.json.encode(found))


def test_what_they_gave_of_the_same_touches_is_kept(tmp_path: Path) -> None:
    script = Script()
    first = peer_ranks(PLAYED, tmp_path, script.run)
    assert len(first["popularity"].ranks) == PLAYED.asked.sum()
    assert peer_ranks(PLAYED, tmp_path, script.run) == first
    assert script.runs == 1
    assert len(list(tmp_path.iterdir())) == 1, "nothing else is left"


def test_other_touches_are_ranked_anew(tmp_path: Path) -> None:
    script = Script()
    peer_ranks(PLAYED, tmp_path, script.run)
    peer_ranks(replace(PLAYED, repeats=False), tmp_path, script.run)
    peer_ranks(replace(PLAYED, asked=PLAYED.asked & (np.arange(12) < 6)), tmp_path, script.run)
    assert script.runs == 3
