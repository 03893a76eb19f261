"""What the other rankers give: it depends on nothing of ours, so it is computed once and kept."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import msgspec
import numpy as np
import xxhash

from freshrank.benchmarks.module_process import run_script
from freshrank.benchmarks.peers import peer_rankers
from freshrank.benchmarks.quality.next_item.interactions import Interactions

KEPT = peer_rankers.ENVIRONMENT.with_name("peer_ranks")
"""The folder of the files with what they gave."""


class WrittenRanks(msgspec.Struct):
    """What one ranker has given."""

    ranks: list[int]
    """Of each list, the place of the touched item, from 1; 0: it is not there."""
    seconds: float


def peer_ranks(
    played: Interactions,
    kept: Path = KEPT,
    run: Callable[[Path, Sequence[str]], object] = run_script,
) -> Mapping[str, WrittenRanks]:
    """By ranker, what the script of the other rankers gives, or has given of the same touches.

    The name of the file in `kept` is a hash of the touches, the script and its requirements.
    `run` runs the script. Raises Unavailable where it fails.
    """
    users, items, categories = played.users(), played.items(), played.categories()
    times_ms = np.array([touch.at_ms for touch in played.touches])
    script = Path(peer_rankers.__file__)
    known = xxhash.xxh64(script.read_bytes() + peer_rankers.REQUIREMENTS.read_bytes())
    for array in (users, items, categories, times_ms, played.asked, np.array(played.repeats)):
        known.update(array.tobytes())
    file = kept / f"{played.name}-{known.hexdigest()}.json"
    if not file.exists():
        kept.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=kept) as folder:
            given = Path(folder) / "touches.npz"
            np.savez(
                given,
                users=users,
                items=items,
                categories=categories,
                times_ms=times_ms,
                asked=played.asked,
                repeats=played.repeats,
            )
            run(script, [str(given)])
            given.with_suffix(".ranks.json").replace(file)
    return msgspec.json.decode(file.read_bytes(), type=dict[str, WrittenRanks])
