from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import msgspec
import pytest
from damage import damaged
from small_shop import LABELLED, Product, batch, event, packed, spec, table_spec
from source_offsets import upto

from freshrank.actors.errors import DefinitionChanged
from freshrank.actors.messages import Version
from freshrank.actors.protocols import Progress
from freshrank.actors.snapshots.file_format import MadeFor
from freshrank.actors.snapshots.file_store import FileSnapshots
from freshrank.feature_actors.partition.partition import PartitionState
from freshrank.feature_actors.partition.recovery import recover

MADE = spec()


def state_of(events: int) -> PartitionState:
    state = PartitionState(MADE, 0)
    values = [event(number, f"u{number}", "view", 7, 1_000) for number in range(events)]
    state.process(batch("events", values))
    return state


def test_whatever_became_of_the_newest_file_it_is_named_and_the_one_before_is_used(
    tmp_path: Path,
) -> None:
    store = FileSnapshots(tmp_path)
    good, newest = packed(state_of(3)), packed(state_of(5))
    store.save("partition-0", [good])
    store.save("partition-0", [newest])
    path = Path(store.candidates("partition-0")[0].place)
    assert recover(MADE, 0, store, None).state.offsets == upto(5, 0)
    tried = 0
    for name, payload in damaged(newest, "partition", MADE.made_for):
        path.write_bytes(payload)
        found = recover(MADE, 0, store, None)
        assert packed(found.state) == good, name
        (problem,) = found.problems
        assert problem.startswith(f"{path} was passed over: "), name
        tried += 1
    assert tried > 120


def test_with_no_file_that_is_whole_all_is_read_again_and_every_file_is_named(
    tmp_path: Path,
) -> None:
    store = FileSnapshots(tmp_path)
    for _ in range(3):
        store.save("partition-0", [packed(state_of(3))[:-1]])
    found = recover(MADE, 0, store, None)
    assert found.state.offsets == upto(0, 0)
    assert len(found.problems) == 3


def test_a_snapshot_that_the_learner_cannot_go_on_from_is_passed_over(tmp_path: Path) -> None:
    store = FileSnapshots(tmp_path)
    store.save("partition-0", [packed(state_of(5))])
    found = recover(MADE, 0, store, Progress(True, False, upto(4), upto(4), Version(1, 1)))
    assert found.state.offsets == upto(0, 0)
    assert "the learner has applied up to (events 4)" in found.problems[0]


def test_other_definitions_are_refused_with_the_files_name(tmp_path: Path) -> None:
    store = FileSnapshots(tmp_path)
    store.save("partition-0", [packed(state_of(5))])
    with pytest.raises(DefinitionChanged, match=r"partition-0\.000000000001\.snapshot: made for"):
        recover(spec(LABELLED), 0, store, None)


def test_rows_of_another_schema_are_read_again(tmp_path: Path) -> None:
    """The topic of a table is compacted: it holds all rows."""
    store, made = FileSnapshots(tmp_path), table_spec()
    state = PartitionState(made, 0)
    row = msgspec.json.encode(Product(7, "hats"))
    state.process(replace(batch("catalogue", [row]), keys=[b"7"]))
    assert state.counters.table_rows == 1
    store.save("partition-0", [packed(state)])
    assert recover(made, 0, store, None).state.offsets == {"catalogue": 1}
    found = recover(replace(made, made_for=MadeFor("another")), 0, store, None)
    assert found.state.offsets == {}
    (problem,) = found.problems
    assert "made for" in problem
