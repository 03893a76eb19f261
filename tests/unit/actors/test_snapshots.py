from pathlib import Path

import numpy as np
import pytest

from freshrank.actors.errors import DefinitionChanged, SnapshotError
from freshrank.actors.snapshots import FileSnapshots, pack, unpack

ARRAYS = {
    "rows": np.arange(6, dtype=np.float64).reshape(2, 3),
    "none": np.zeros((0, 4), dtype=np.int64),
    "flags": np.array([True, False]),
}


def packed(kind: str = "partition", fingerprint: str = "abc") -> bytes:
    return pack(kind, fingerprint, {"cut": [1, 2], "name": "ä"}, ARRAYS)


def test_what_was_packed_comes_back_and_may_be_written_to() -> None:
    meta, arrays = unpack("partition", "abc", packed())
    assert meta == {"cut": [1, 2], "name": "ä"}
    assert arrays.keys() == ARRAYS.keys()
    for name, array in ARRAYS.items():
        assert arrays[name].dtype == array.dtype
        np.testing.assert_array_equal(arrays[name], array)
    arrays["rows"][0, 0] = 7.0
    assert arrays["rows"][0, 0] == 7.0


def test_a_slice_that_is_not_contiguous_is_packed_by_its_values() -> None:
    every_other = np.arange(10, dtype=np.int64)[::2]
    _, arrays = unpack("k", "f", pack("k", "f", {}, {"a": every_other}))
    assert arrays["a"].tolist() == [0, 2, 4, 6, 8]


def test_any_single_damaged_byte_is_refused() -> None:
    payload = packed()
    for at in range(len(payload)):
        damaged = payload[:at] + bytes([payload[at] ^ 0x55]) + payload[at + 1 :]
        with pytest.raises(SnapshotError):
            unpack("partition", "abc", damaged)


def test_any_truncation_is_refused() -> None:
    payload = packed()
    for length in range(len(payload)):
        with pytest.raises(SnapshotError):
            unpack("partition", "abc", payload[:length])


def test_another_kind_is_refused_by_name() -> None:
    with pytest.raises(SnapshotError, match="'learner' file where 'partition'"):
        unpack("partition", "abc", packed(kind="learner"))


def test_other_definitions_are_told_from_damage() -> None:
    with pytest.raises(DefinitionChanged, match="made for definitions xyz, not abc"):
        unpack("partition", "abc", packed(fingerprint="xyz"))


def test_a_newer_format_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr("freshrank.actors.snapshots.FORMAT", 99)
        payload = packed()
    with pytest.raises(SnapshotError, match="format 99 is newer"):
        unpack("partition", "abc", payload)


def test_the_newest_few_files_are_kept_newest_first(tmp_path: Path) -> None:
    store = FileSnapshots(tmp_path, keep=2)
    for payload in (b"one", b"two", b"three"):
        store.save("p0", payload)
    store.save("p01", b"other")
    assert store.candidates("p0") == [b"three", b"two"]
    assert store.candidates("p01") == [b"other"]
    assert store.candidates("p1") == []
    assert FileSnapshots(tmp_path).candidates("p0") == [b"three", b"two"]


def test_a_crash_before_the_rename_leaves_the_older_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = FileSnapshots(tmp_path)
    store.save("p0", b"one")

    def crash(path: Path, target: Path) -> Path:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", crash)
        with pytest.raises(KeyboardInterrupt):
            store.save("p0", b"two")
    assert store.candidates("p0") == [b"one"]
    store.save("p0", b"three")
    assert store.candidates("p0") == [b"three", b"one"]
    assert len(list(tmp_path.iterdir())) == 2


def test_a_disk_that_fails_is_a_snapshot_error_and_loses_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = FileSnapshots(tmp_path)
    store.save("p0", b"one")

    def full(path: Path, target: Path) -> Path:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(SnapshotError, match="No space left"):
        store.save("p0", b"two")
    assert store.candidates("p0") == [b"one"]
