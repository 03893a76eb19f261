"""The script of other projects' engines: what it writes, times and counts."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

from freshrank.benchmarks.peers import peer_engines
from freshrank.benchmarks.peers.peer_engines import RowWriter, engine_file, lines_of_code


class FakeRedis:
    def __init__(self) -> None:
        self.rows: dict[str, str] = {}

    def mset(self, rows: dict[str, str]) -> None:
        self.rows.update(rows)


def test_rows_are_written_under_the_prefix_and_times_end_with_the_last_of_them() -> None:
    client = FakeRedis()
    writer = RowWriter(client, json.dumps, "job:")
    assert writer.figures() == {"seconds": 0.0, "cpu_seconds": 0.0, "rows_written": 0}
    writer.begin()
    writer.write({"u1": {"n": 1}, "u2": {"n": 2}})
    writer.write({"u1": {"n": 3}})
    ended = writer.figures()
    writer.begin()
    writer.write({})
    assert writer.figures() == ended
    assert ended["rows_written"] == 3
    assert ended["seconds"] > 0.0
    assert client.rows == {"job:u1": '{"n": 3}', "job:u2": '{"n": 2}'}


def test_the_time_of_a_process_beside_counts() -> None:
    writer = RowWriter(FakeRedis(), json.dumps, "job:")
    writer.count_also(os.getpid())
    writer.begin()
    began = time.process_time()
    while time.process_time() - began < 0.1:
        pass
    writer.write({"u1": {}})
    # Of this process itself, so twice: the kernel counts a hundredth of a second at a time.
    assert 0.18 <= writer.figures()["cpu_seconds"] <= 4 * (time.process_time() - began)


def test_lines_without_code_do_not_count(tmp_path: Path) -> None:
    path = tmp_path / "one.py"
    path.write_text(
        '"""Doc."""\n\n# A comment.\nx = (\n    1\n)\n\n\ndef f():\n    "D."\n    "x"[0]\n'
    )
    assert lines_of_code(path) == 4 + 1


def test_each_engine_has_its_module_and_its_requirements() -> None:
    for engine in peer_engines.ENGINES:
        assert lines_of_code(engine_file(engine)) > 10
        assert "==" in engine_file(engine, ".txt").read_text(encoding="utf-8")
