"""Ten streams, learned by the product's models and by other projects' learners, untuned.

Each row is predicted before it is learned, all have the same rows in the same order.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

from rich.console import Console

from freshrank.benchmarks.module_process import run_script
from freshrank.benchmarks.online import own_learners, peer_runs
from freshrank.benchmarks.online.drifting import drifting
from freshrank.benchmarks.online.own_learners import Learned
from freshrank.benchmarks.online.quality import quality
from freshrank.benchmarks.online.real_streams import REAL
from freshrank.benchmarks.online.stream_file import LabelledStream, read_stream, write_stream
from freshrank.benchmarks.online.table import OnlineTable, StreamLine
from freshrank.benchmarks.registry import BenchOptions
from freshrank.benchmarks.report import Figure

ROWS = 20_000
"""At most, of each stream: the forests learn some hundred rows a second."""


def run(options: BenchOptions, console: Console) -> list[Figure]:
    """Learn all streams; the real ones where `--data` names the folder that has them."""
    rows = round(ROWS * options.scale)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with console.status("the environment of the peers, and River's data sets"):
            run_script(peer_runs.SCRIPT, ["datasets", str(folder)])
        streams = list(streams_of(folder, options.data, rows))
        if options.data is None:
            console.print(f"without --data FOLDER not learned: {', '.join(REAL)}")
        for stream in streams:
            write_stream(stream, folder)
        with console.status("the peers learn"):
            run_script(peer_runs.SCRIPT, ["learn", str(folder)])
        lines = []
        for stream in streams:
            with console.status(f"learning {stream.name}"):
                peers = peer_runs.written(folder, stream.name)
                lines.append(_line(stream, {**_own(stream), **peers}))
    table = OnlineTable(lines)
    for shown in table.tables():
        console.print(shown)
    return list(table.figures())


def streams_of(folder: Path, data: Path | None, rows: int) -> Iterator[LabelledStream]:
    """The streams that lie in `folder`, the generated one, and the real ones below `data`."""
    for path in sorted(folder.glob("*.jsonl")):
        yield read_stream(path).first(rows)
    yield drifting(rows)
    if data is not None:
        for read in REAL.values():
            yield read(data, rows)


def _own(stream: LabelledStream) -> dict[str, Learned]:
    return {
        name: own_learners.learn(stream, learner) for name, learner in own_learners.LEARNERS.items()
    }


def _line(stream: LabelledStream, learned: dict[str, Learned]) -> StreamLine:
    return StreamLine(
        stream.name,
        stream.kind,
        len(stream.rows),
        {
            name: quality(stream.kind, stream.labels, one.predictions)
            for name, one in learned.items()
        },
        {name: one.seconds for name, one in learned.items()},
    )
