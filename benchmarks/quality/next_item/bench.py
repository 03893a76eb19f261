"""Next-item recommendation: recall@20 and NDCG@20 of ours beside other rankers, in one run.

Each data set is played once, in the order of time. Before a touch each ranker gives a list of 20
items of all that were touched before, and the item that is touched is looked for in it. Ours learns
from every event and from what it has shown, by the product's own code; the others are those of
`peers/peer_rankers.py`, over the same events and lists.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence

import numpy as np
from rich.console import Console
from rich.table import Table

from freshrank.benchmarks.quality.next_item.interactions import Interactions, read_interactions
from freshrank.benchmarks.quality.next_item.list_quality import ListQuality, quality_of
from freshrank.benchmarks.quality.next_item.live_system import LiveSystem
from freshrank.benchmarks.quality.next_item.peer_ranks import WrittenRanks, peer_ranks
from freshrank.benchmarks.quality.next_item.pipeline import pipeline
from freshrank.benchmarks.registry import BenchOptions, needed_data
from freshrank.benchmarks.report import Figure

OURS = "freshrank"
LENGTH = 20
"""Items of a list."""
# Items that are logged as shown, and learned from: a longer list than the one that is judged, since
# what was touched is known whether or not it was shown.
_SHOWN = 50


def run(options: BenchOptions, console: Console) -> list[Figure]:
    """Play each data set at `--data`, by ours and by the others."""
    data = needed_data(options, "quality", "bo_action.parquet, ml-100k.inter or their folder")
    found: list[Figure] = []
    for played in read_interactions(data):
        with console.status(f"{played.name}: the other rankers"):
            ranked = peer_ranks(played)
        with console.status(f"{played.name}: {OURS}") as status:
            ours = asyncio.run(_ours(played, lambda share: status.update(f"{share:.0%}")))
        qualities = {
            name: quality_of(np.array(one.ranks)[played.judged[played.asked]], one.seconds)
            for name, one in {OURS: ours, **ranked}.items()
        }
        console.print(_table(played, qualities))
        found += figures(played.name, qualities)
    return found


def figures(name: str, qualities: Mapping[str, ListQuality]) -> list[Figure]:
    """Ours has to be ahead of the best of the others, whose figures are in the table."""
    others = [one for ranker, one in qualities.items() if ranker != OURS]
    found = []
    for measure in ("recall", "ndcg"):
        best = max(getattr(one, measure) for one in others)
        ours = getattr(qualities[OURS], measure)
        found.append(Figure(f"{name}_{measure}_at_{LENGTH}", ours, "1", "higher", best))
        found += [
            Figure(
                f"{name}_{measure}_at_{LENGTH}_{ranker}",
                getattr(one, measure),
                "1",
                "higher",
                detail=True,
            )
            for ranker, one in qualities.items()
            if ranker != OURS
        ]
    return found


async def _ours(played: Interactions, advanced: Callable[[float], None]) -> WrittenRanks:
    system = LiveSystem(pipeline, _SHOWN, repeats=played.repeats)
    ranks, began = list[int](), time.perf_counter()
    await system.start()
    for place, touch in enumerate(played.touches):
        if played.asked[place]:
            await system.learn()
            listed = await system.recommend(touch.user, touch.at_ms, LENGTH)
            ranks.append(listed.index(touch.item) + 1 if touch.item in listed else 0)
            advanced(place / len(played.touches))
        system.touch(touch)
    await system.stop()
    return WrittenRanks(ranks, time.perf_counter() - began)


def _table(played: Interactions, qualities: Mapping[str, ListQuality]) -> Table:
    judged, asked = int(played.judged.sum()), int(played.asked.sum())
    title = f"{played.name}: {len(played.touches):,} touches, {judged:,} lists judged of {asked:,}"
    table = Table(title=title, title_justify="left")
    table.add_column("ranker", no_wrap=True)
    for column in (f"recall@{LENGTH}", f"NDCG@{LENGTH}", "seconds"):
        table.add_column(column, justify="right", no_wrap=True)
    for name, row in qualities.items():
        table.add_row(name, *_cells(row))
    return table


def _cells(row: ListQuality) -> Sequence[str]:
    return [f"{row.recall:.4f} ± {row.recall_error:.4f}", f"{row.ndcg:.4f}", f"{row.seconds:,.1f}"]
