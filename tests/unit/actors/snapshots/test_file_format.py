from __future__ import annotations

import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import pytest
import safetensors
import safetensors.numpy
from hypothesis import given, settings
from hypothesis import strategies as st

from freshrank.actors.errors import DefinitionChanged, SnapshotError
from freshrank.actors.snapshots.disk import Disk, Piece
from freshrank.actors.snapshots.file_format import (
    Array,
    MadeFor,
    pack,
    read_header,
    unpack,
    unpack_for,
)
from freshrank.actors.snapshots.file_store import FileSnapshots
from freshrank.actors.snapshots.store import StoredSnapshot

ARRAYS = {
    "rows": np.arange(6, dtype=np.float64).reshape(2, 3),
    "none": np.zeros((0, 4), dtype=np.int64),
    "flags": np.array([True, False]),
    "bytes": np.arange(5, dtype=np.uint8),
    "floats": np.array([[[1.5]]], dtype=np.float32),
}


def packed(kind: str = "partition", fingerprint: str = "abc") -> bytes:
    return b"".join(pack(kind, MadeFor(fingerprint), {"cut": [1, 2], "name": "ä"}, ARRAYS))


def contents(kept: Iterable[StoredSnapshot]) -> list[bytes]:
    return [bytes(one.read()) for one in kept]


def test_what_was_packed_comes_back_and_may_be_written_to() -> None:
    meta, arrays = unpack_for("partition", MadeFor("abc"), packed())
    assert meta == {"cut": [1, 2], "name": "ä"}
    assert arrays.keys() == ARRAYS.keys()
    for name, array in ARRAYS.items():
        assert arrays[name].dtype == array.dtype
        np.testing.assert_array_equal(arrays[name], array)
    arrays["rows"][0, 0] = 7.0
    assert arrays["rows"][0, 0] == 7.0


def test_a_slice_that_is_not_contiguous_is_packed_by_its_values() -> None:
    every_other = np.arange(10, dtype=np.int64)[::2]
    payload = b"".join(pack("k", MadeFor("f"), {}, {"a": every_other}))
    assert unpack(payload).arrays["a"].tolist() == [0, 2, 4, 6, 8]


def test_any_reader_of_safetensors_opens_the_file(tmp_path: Path) -> None:
    path = tmp_path / "a.snapshot"
    path.write_bytes(packed())
    with safetensors.safe_open(path, "numpy") as file:
        assert set(file.keys()) == {*ARRAYS, "checksum"}
        assert '"kind":"partition"' in file.metadata()["freshrank"]
        for name, array in ARRAYS.items():
            np.testing.assert_array_equal(file.get_tensor(name), array)


def test_small_arrays_leave_together_and_large_ones_between_them() -> None:
    arrays: dict[str, Array] = {
        f"small {number:03}": np.full((3, 2), number, "<f4") for number in range(500)
    }
    assert len(list(pack("k", MadeFor("f"), {}, arrays))) == 2, "these and the checksum"
    arrays |= {"wide": np.arange(9_000.0), "other": np.arange(8_000.0)}
    arrays |= {"apart": np.arange(40, dtype="<i8")[::2], "none": np.empty((0, 3), "<f4")}
    pieces = list(pack("k", MadeFor("f"), {}, arrays))
    assert len(pieces) == 5 and all(pieces)
    found = unpack(b"".join(pieces)).arrays
    assert found.keys() == arrays.keys()
    for name, array in arrays.items():
        np.testing.assert_array_equal(found[name], array)


def test_large_arrays_leave_in_pieces_that_are_no_copies() -> None:
    large = np.random.default_rng(0).random((3, 1 << 19))
    pieces = list(pack("k", MadeFor("f"), {}, {"large": large}))
    assert max(map(len, pieces)) == 1 << 22
    views = [np.frombuffer(one, dtype=np.uint8) for one in pieces if isinstance(one, memoryview)]
    assert sum(one.nbytes for one in views if np.shares_memory(one, large)) == large.nbytes
    np.testing.assert_array_equal(unpack(b"".join(pieces)).arrays["large"], large)


@settings(deadline=None, max_examples=500)
@given(st.data())
def test_damage_anywhere_is_refused(data: st.DataObject) -> None:
    payload = bytearray(packed())
    begin = data.draw(st.integers(0, len(payload) - 1))
    noise = data.draw(st.binary(min_size=1, max_size=40))
    damaged = payload[:begin] + noise + payload[begin + len(noise) :]
    if damaged != payload:
        with pytest.raises(SnapshotError):
            unpack(bytes(damaged))


def test_any_single_damaged_byte_is_refused() -> None:
    payload = packed()
    for at in range(len(payload)):
        for flipped in (1, 0x55, 0x80):
            damaged = payload[:at] + bytes([payload[at] ^ flipped]) + payload[at + 1 :]
            with pytest.raises(SnapshotError):
                unpack(damaged)


def test_any_truncation_is_refused() -> None:
    payload = packed()
    for length in range(len(payload)):
        with pytest.raises(SnapshotError, match=r"truncated|not a Freshrank file"):
            unpack(payload[:length])


def test_what_is_appended_is_refused() -> None:
    payload = packed()
    with pytest.raises(SnapshotError, match=f"{len(payload) + 3} of {len(payload)} bytes"):
        unpack(payload + b"abc")


@pytest.mark.parametrize(
    "foreign",
    [
        b"",
        b"\0" * 100,
        b"PK\x03\x04 an archive of something else altogether",
        safetensors.numpy.save({"weights": np.arange(9.0)}),
        safetensors.numpy.save({"weights": np.arange(9.0)}, {"freshrank": "yes"}),
        safetensors.numpy.save({"weights": np.arange(9.0)}, {"freshrank": "{}"}),
    ],
    ids=["empty", "zeros", "archive", "safetensors", "claims to be ours", "lacks the mark"],
)
def test_a_foreign_file_is_refused_as_such(foreign: bytes) -> None:
    with pytest.raises(SnapshotError, match="not a Freshrank file"):
        unpack(foreign)


def test_another_kind_is_refused_by_name() -> None:
    with pytest.raises(SnapshotError, match="'learner' file where 'partition'"):
        unpack_for("partition", MadeFor("abc"), packed(kind="learner"))


def test_other_definitions_are_told_from_damage() -> None:
    with pytest.raises(DefinitionChanged, match="made for definitions xyz, not abc"):
        unpack_for("partition", MadeFor("abc"), packed(fingerprint="xyz"))


def test_a_header_alone_tells_the_definitions(tmp_path: Path) -> None:
    path = tmp_path / "a.snapshot"
    path.write_bytes(packed()[: -ARRAYS["rows"].nbytes])
    assert read_header("partition", path)[0] == MadeFor("abc")
    with pytest.raises(SnapshotError, match="'partition' file where 'learner'"):
        read_header("learner", path)
    with pytest.raises(SnapshotError, match="cannot be read"):
        read_header("partition", tmp_path / "absent")
    for length in range(len(packed()) - sum(one.nbytes for one in ARRAYS.values()) - 8):
        path.write_bytes(packed()[:length])
        with pytest.raises(SnapshotError, match="not a Freshrank file"):
            read_header("partition", path)


@pytest.mark.parametrize(
    ("version", "age"), [(99, "newer than this program's 4"), (2, "older than 3")]
)
def test_another_format_is_refused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, version: int, age: str
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr("freshrank.actors.snapshots.file_format.FORMAT", version)
        payload = packed()
    told = f"format {version} is {age}"
    with pytest.raises(SnapshotError, match=told):
        unpack(payload)
    (tmp_path / "a").write_bytes(payload)
    with pytest.raises(SnapshotError, match=told):
        read_header("partition", tmp_path / "a")


def test_the_newest_few_files_are_kept_newest_first(tmp_path: Path) -> None:
    store = FileSnapshots(tmp_path, keep=2)
    for payload in (b"one", b"two", b"three"):
        assert store.save("p0", [payload]) == len(payload)
    store.save("p01", [b"other"])
    assert contents(store.candidates("p0")) == [b"three", b"two"]
    assert contents(store.candidates("p01")) == [b"other"]
    assert store.candidates("p1") == []
    assert contents(FileSnapshots(tmp_path).candidates("p0")) == [b"three", b"two"]
    assert [Path(one.place).name for one in store.candidates("p0")] == [
        "p0.000000000003.snapshot",
        "p0.000000000002.snapshot",
    ]


def test_a_file_that_cannot_be_read_says_so_when_it_is(tmp_path: Path) -> None:
    store = FileSnapshots(tmp_path)
    store.save("p0", [b"one"])
    (kept,) = store.candidates("p0")
    Path(kept.place).unlink()
    with pytest.raises(SnapshotError, match=r"cannot be read: .*No such file"):
        kept.read()


class FailingDisk(Disk):
    """Raises `error` instead of, or after, doing one of its duties."""

    def __init__(self, duty: str, error: BaseException, *, after: bool = False) -> None:
        self.failing = True
        done: Callable[..., object] = getattr(self, duty)

        def fail(*arguments: object) -> object:
            if not self.failing:
                return done(*arguments)
            if after:
                done(*arguments)
            raise error

        setattr(self, duty, fail)


FULL = OSError(28, "No space left on device")


@pytest.mark.parametrize("duty", ["names", "write", "sync", "rename"])
def test_a_disk_that_fails_is_told_and_loses_nothing_and_recovers(
    tmp_path: Path, duty: str
) -> None:
    FileSnapshots(tmp_path).save("p0", [b"one"])
    disk = FailingDisk(duty, FULL)
    store = FileSnapshots(tmp_path, disk=disk)
    with pytest.raises(SnapshotError, match=f"cannot write p0 in {tmp_path}: .*No space left"):
        store.save("p0", [b"two"])
    assert [path.name for path in tmp_path.iterdir()] == ["p0.000000000001.snapshot"]
    assert contents(FileSnapshots(tmp_path).candidates("p0")) == [b"one"]
    disk.failing = False
    store.save("p0", [b"three"])
    assert contents(store.candidates("p0")) == [b"three", b"one"]


def test_a_file_that_cannot_be_pruned_does_not_cost_the_new_one(tmp_path: Path) -> None:
    disk = FailingDisk("remove", OSError(30, "Read-only file system"))
    store = FileSnapshots(tmp_path, keep=1, disk=disk)
    store.save("p0", [b"one"])
    with pytest.raises(SnapshotError, match="Read-only"):
        store.save("p0", [b"two"])
    assert contents(store.candidates("p0")) == [b"two", b"one"]
    disk.failing = False
    store.save("p0", [b"three"])
    assert contents(store.candidates("p0")) == [b"three"]


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("duty", ["write", "sync", "rename"])
def test_a_crash_at_any_step_leaves_whole_files_only(
    tmp_path: Path, duty: str, *, after: bool
) -> None:
    FileSnapshots(tmp_path).save("p0", [b"one"])
    store = FileSnapshots(tmp_path, disk=FailingDisk(duty, KeyboardInterrupt(), after=after))
    with pytest.raises(KeyboardInterrupt):
        store.save("p0", [b"two"])
    left = contents(FileSnapshots(tmp_path).candidates("p0"))
    assert left in ([b"one"], [b"two", b"one"])
    again = FileSnapshots(tmp_path)
    again.save("p0", [b"three"])
    assert contents(again.candidates("p0")) == [b"three", *left]
    assert not [path for path in tmp_path.iterdir() if path.suffix == ".draft"]


def test_a_file_is_its_pieces_in_order(tmp_path: Path) -> None:
    pieces: list[Piece] = [b"abc", memoryview(b"defg"), b""]
    assert Disk().write(tmp_path / "file", pieces) == 7
    assert Disk().read(tmp_path / "file") == b"abcdefg"


def test_what_is_added_to_a_file_is_there_whole_or_not_at_all(tmp_path: Path) -> None:
    program = f"""
        import resource
        from pathlib import Path
        from freshrank.actors.snapshots.disk import Disk

        disk, path = Disk(), Path({str(tmp_path / "file")!r})
        disk.append(path, b"one ")
        hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
        resource.setrlimit(resource.RLIMIT_FSIZE, (7, hard))
        try:
            disk.append(path, b"four")
        except OSError as error:
            print(error.strerror)
        resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
        disk.append(path, b"two")
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program)],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout == "File too large\n"
    assert (tmp_path / "file").read_bytes() == b"one two"


def test_a_real_limit_of_the_file_size_is_a_disk_that_is_full(tmp_path: Path) -> None:
    program = f"""
        import resource
        from pathlib import Path
        from freshrank.actors.errors import SnapshotError
        from freshrank.actors.snapshots.file_store import FileSnapshots

        store = FileSnapshots(Path({str(tmp_path)!r}))
        store.save("p0", [b"one"])
        hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
        resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, hard))
        try:
            store.save("p0", [bytes(6_000), bytes(6_000)])
        except SnapshotError as error:
            print(error)
        resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
        store.save("p0", [bytes(6_000), bytes(6_000)])
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program)],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert "cannot write p0" in done.stdout
    assert "File too large" in done.stdout
    store = FileSnapshots(tmp_path)
    assert contents(store.candidates("p0")) == [bytes(12_000), b"one"]
    assert len(list(tmp_path.iterdir())) == 2
