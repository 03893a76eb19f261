"""What a disk has taken survives the loss of power, at every moment."""

from __future__ import annotations

import contextlib
from pathlib import Path

import pytest
from power_loss import PowerLoss, PowerLossDisk

from freshrank.actors.snapshots.disk import Disk
from freshrank.actors.snapshots.file_store import FileSnapshots

# More than the operations of anything below.
MOST_OPERATIONS = 20

early_or_late = pytest.mark.parametrize("names_early", [False, True], ids=["late", "early"])


@early_or_late
def test_a_replaced_file_survives_the_loss_of_power(tmp_path: Path, names_early: bool) -> None:
    disk = PowerLossDisk(tmp_path, names_early=names_early)
    assert disk.replace(tmp_path / ".draft", tmp_path / "file", [b"one ", b"two"]) == 7
    disk.lose_power()
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {"file": b"one two"}


@early_or_late
@pytest.mark.parametrize("operations", range(MOST_OPERATIONS))
def test_a_file_that_is_being_replaced_is_the_old_or_the_new(
    tmp_path: Path, operations: int, names_early: bool
) -> None:
    file = tmp_path / "file"
    file.write_bytes(b"old")
    disk = PowerLossDisk(tmp_path, operations, names_early=names_early)
    with contextlib.suppress(PowerLoss):
        disk.replace(tmp_path / ".draft", file, [b"new"])
    disk.lose_power()
    assert file.read_bytes() in {b"old", b"new"}


def test_a_replacement_that_fails_leaves_no_draft(tmp_path: Path) -> None:
    (tmp_path / "file").mkdir()
    with pytest.raises(OSError, match="directory"):
        Disk().replace(tmp_path / ".draft", tmp_path / "file", [b"new"])
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


@early_or_late
def test_a_new_folder_survives_the_loss_of_power(tmp_path: Path, names_early: bool) -> None:
    disk = PowerLossDisk(tmp_path, names_early=names_early)
    disk.make_folder(tmp_path / "a" / "b")
    disk.lose_power()
    assert (tmp_path / "a" / "b").is_dir()


@early_or_late
def test_a_saved_snapshot_survives_the_loss_of_power(tmp_path: Path, names_early: bool) -> None:
    disk, folder = PowerLossDisk(tmp_path, names_early=names_early), tmp_path / "state" / "shards"
    store = FileSnapshots(folder, keep=2, disk=disk)
    for payload in (b"one", b"two", b"three"):
        store.save("partition-0", [payload])
    disk.lose_power()
    newest, *older = FileSnapshots(folder).candidates("partition-0")
    assert newest.read() == b"three"
    assert older[0].read() == b"two"


@early_or_late
@pytest.mark.parametrize("operations", range(MOST_OPERATIONS))
def test_snapshots_are_whole_whenever_the_power_is_lost(
    tmp_path: Path, operations: int, names_early: bool
) -> None:
    FileSnapshots(tmp_path).save("partition-0", [b"1"])
    disk, saved = PowerLossDisk(tmp_path, operations, names_early=names_early), 1
    with contextlib.suppress(PowerLoss):
        store = FileSnapshots(tmp_path, keep=1, disk=disk)
        for number in (2, 3):
            store.save("partition-0", [str(number).encode()])
            saved = number
    disk.lose_power()
    newest, *older = [int(one.read()) for one in FileSnapshots(tmp_path).candidates("partition-0")]
    assert newest in {saved, saved + 1}
    assert older == list(range(newest - 1, newest - 1 - len(older), -1))
