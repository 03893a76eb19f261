"""Examples over histories of real shops, as benches read them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import msgspec
import pytest

from freshrank.benchmarks.workloads.histories.real_history import REAL, found_in
from freshrank.examples.jd import Action

ACTIONS = [
    Action(f"a{number}", who, 7, 8, 9, "view", 1_000 * number)
    for number, who in enumerate(["u1", "u2"])
]


@pytest.mark.parametrize("name", REAL)
def test_the_example_of_a_history_is_read_under_another_topic_and_name(name: str) -> None:
    pipeline = REAL[name].file("bench-topic", "bench-name").load()
    assert (pipeline.stream.topic, pipeline.name) == ("bench-topic", "bench-name")
    assert pipeline.stream.key.key == REAL[name].entity[0]


def test_each_copy_of_a_history_is_of_others() -> None:
    history = replace(
        REAL["jd"],
        records=lambda path: [
            (one.user_id.encode(), msgspec.json.encode(one), one.ts) for one in ACTIONS
        ],
    )
    events = list(history.events(Path("none"), copies=2))
    decoded = [msgspec.json.decode(value, type=Action) for _, value in events]
    assert [key for key, _ in events] == [b"u1.0", b"u1.1", b"u2.0", b"u2.1"]
    assert [one.user_id.encode() for one in decoded] == [key for key, _ in events]
    assert len({one.action_id for one in decoded}) == 4
    assert [one.ts for one in decoded] == [0, 0, 1_000, 1_000]


def test_histories_are_found_where_they_lie(tmp_path: Path) -> None:
    assert found_in(None) == found_in(tmp_path) == {}
    file = tmp_path / REAL["jd"].data
    file.parent.mkdir(parents=True)
    file.write_bytes(b"")
    assert found_in(tmp_path) == {"jd": file}
