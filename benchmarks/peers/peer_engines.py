r"""Runs a stream engine of another project: from a full topic of Kafka to features in Redis.

    python peer_engines.py ENGINE --bootstrap HOST:PORT --redis URL --topic TOPIC \
        --partitions P --count N

ENGINE is one of `ENGINES`. It needs Python and what ``engines/engine_ENGINE.txt`` names,
which it installs by pip into an environment of its own (``~/.cache/freshrank/peer_ENGINE``;
``--environment`` names another). The engine reads the topic from its beginning in one process, with
its own guarantee that nothing is lost when it is killed, keeps the state of `shop_job` of each user
(the key of the records) in its own store, and writes rows as JSON to Redis, under ``--prefix`` and
the user. After ``--count`` events it ends; with ``--tail`` they may come after its start. It prints
JSON: the seconds from the first event that the job was given to the last row in Redis, the CPU time
meanwhile (that of a JVM, too), how many rows were written, the lines of code of the engine's user,
and how it is durable.

Each engine is a module ``engines/engine_ENGINE`` with `DURABLE` and `run`, which is the code of its
user: what its documents recommend for state that is written by hand.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import tempfile
import time
import tokenize
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ENGINES = ("quix", "bytewax", "faust", "pathway", "pyflink")
_HERE = Path(__file__).resolve().parent
_FOLDER = _HERE / "engines"
_NO_CODE = {
    tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT,
    tokenize.ENCODING, tokenize.ENDMARKER,
}  # fmt: skip


class RowWriter:
    """Writes rows to Redis, many by one command, and takes the times of a run."""

    def __init__(self, client: Any, dumps: Any, prefix: str) -> None:
        self._client, self._dumps, self._prefix = client, dumps, prefix
        self._began: tuple[float, float] | None = None
        self._ended = (0.0, 0.0)
        self._beside: int | None = None
        self.rows = 0

    def count_also(self, process: int) -> None:
        """Add the CPU time of another process that the engine has started."""
        self._beside = process

    def begin(self) -> None:
        """The job has been given an event: the first is where the times begin."""
        if self._began is None:
            self._began = self._times()

    def write(self, rows: Mapping[str, Mapping[str, Any]]) -> None:
        """Write the row of each user."""
        if rows:
            self._client.mset(
                {f"{self._prefix}{user}": self._dumps(row) for user, row in rows.items()}
            )
            self.rows += len(rows)
            self._ended = self._times()

    def _times(self) -> tuple[float, float]:
        beside_s = 0.0 if self._beside is None else _cpu_seconds(self._beside)
        return time.perf_counter(), time.process_time() + beside_s

    def figures(self) -> dict[str, float]:
        """Seconds, and seconds of CPU, from the first event to the last row; the rows."""
        began = self._began or self._ended
        seconds, cpu_seconds = (end - begin for end, begin in zip(self._ended, began, strict=True))
        return {"seconds": seconds, "cpu_seconds": cpu_seconds, "rows_written": self.rows}


@dataclass(frozen=True)
class Work:
    """What an engine is to do."""

    bootstrap: str
    topic: str
    partitions: int
    """Of the topic."""
    count: int
    """Records, after which it ends."""
    tail: bool
    """Whether records may come after those that are there, so that the topic's end is not one."""
    group: str
    """A name that no other run has, for consumer groups and internal topics."""
    folder: Path
    """For state and snapshots."""
    writer: RowWriter
    interval_s: float
    """Seconds between two commits, or snapshots."""
    job: Any = field(repr=False)
    """The module `shop_job`."""


def _cpu_seconds(process: int) -> float:
    """The CPU time of a running process, as Linux counts it: a hundredth of a second at a time."""
    fields = Path(f"/proc/{process}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def lines_of_code(path: Path) -> int:
    """The lines of a module that have code: no comment, no docstring, nothing blank."""
    lines: set[int] = set()
    with path.open("rb") as file:
        fresh = True
        for token in tokenize.tokenize(file.readline):
            if token.type in _NO_CODE:
                fresh = fresh or token.type == tokenize.NEWLINE
                continue
            if not (fresh and token.type == tokenize.STRING):
                lines.update(range(token.start[0], token.end[0] + 1))
            fresh = False
    return len(lines)


def engine_file(engine: str, suffix: str = ".py") -> Path:
    """The module of an engine, or the file with its requirements (``.txt``)."""
    return _FOLDER / f"engine_{engine}{suffix}"


def main() -> None:
    """Run an engine by the Python of its environment."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("engine", choices=ENGINES)
    for name in ("bootstrap", "redis", "topic"):
        parser.add_argument(f"--{name}", required=True)
    for name in ("partitions", "count"):
        parser.add_argument(f"--{name}", type=int, required=True)
    parser.add_argument("--prefix", default="peer:")
    parser.add_argument("--interval", type=float, default=5.0)
    parser.add_argument("--environment", type=Path)
    parser.add_argument("--tail", action="store_true")
    given = parser.parse_args()
    environments = importlib.import_module("environments")
    environment = given.environment or environments.FOLDER / f"peer_{given.engine}"
    environments.enter(environment, engine_file(given.engine, ".txt"), __file__)
    client = importlib.import_module("redis").Redis.from_url(given.redis)
    writer = RowWriter(client, importlib.import_module("orjson").dumps, given.prefix)
    engine, job = (
        importlib.import_module(name) for name in (f"engines.engine_{given.engine}", "shop_job")
    )
    with tempfile.TemporaryDirectory(prefix="freshrank-peer-") as folder:
        group = f"peer-{given.engine}-{time.time_ns():x}"
        what = given.bootstrap, given.topic, given.partitions, given.count, given.tail
        engine.run(Work(*what, group, Path(folder), writer, given.interval, job))
    code = lines_of_code(engine_file(given.engine)) + lines_of_code(_HERE / "shop_job.py")
    print(json.dumps({**writer.figures(), "lines_of_code": code, "durable": engine.DURABLE}))


if __name__ == "__main__":
    main()
