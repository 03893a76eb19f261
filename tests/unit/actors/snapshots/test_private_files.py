"""Folders and files for their owner alone, and names at which another user may have put a link."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from freshrank.actors.errors import ConfigError
from freshrank.actors.snapshots.disk import Disk
from freshrank.actors.snapshots.private_files import (
    make_private_folder,
    open_private,
    temporary_folder,
    write_private,
)


@pytest.fixture(autouse=True, params=[0o000, 0o022, 0o077])
def umask(request: pytest.FixtureRequest) -> Iterator[None]:
    before = os.umask(request.param)
    yield
    os.umask(before)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_what_is_made_is_for_its_owner_alone_whatever_the_umask(tmp_path: Path) -> None:
    disk, folder = Disk(), tmp_path / "outer" / "inner"
    disk.make_folder(folder)
    disk.write(folder / "draft", [b"events of users"])
    disk.append(folder / "curve", b"more")
    write_private(folder / "lock", "process 1")
    assert [mode(one) for one in (folder.parent, folder)] == [0o700, 0o700]
    assert {mode(one) for one in folder.iterdir()} == {0o600}
    assert (folder / "draft").read_bytes() == b"events of users"
    assert mode(temporary_folder("freshrank-test-")) == 0o700


def test_what_an_older_version_left_open_is_tightened(tmp_path: Path) -> None:
    folder = tmp_path / "shards"
    folder.mkdir()
    folder.chmod(0o755)
    make_private_folder(folder)
    file = folder / "curve"
    file.touch()
    file.chmod(0o644)
    Disk().append(file, b"more")
    assert (mode(folder), mode(file)) == (0o700, 0o600)


def test_a_file_is_truncated_or_appended_to_as_asked(tmp_path: Path) -> None:
    disk, file = Disk(), tmp_path / "file"
    disk.write(file, [b"long contents"])
    disk.write(file, [b"short"])
    disk.append(file, b", more")
    assert file.read_bytes() == b"short, more"


@pytest.mark.parametrize("dangling", [True, False])
def test_a_symbolic_link_is_refused_and_its_target_not_touched(
    tmp_path: Path, dangling: bool
) -> None:
    disk, link, target = Disk(), tmp_path / "lock", tmp_path / "target"
    link.symlink_to(target)
    if not dangling:
        target.write_text("precious")
    for write in (
        lambda: disk.write(link, [b"x"]),
        lambda: disk.append(link, b"x"),
        lambda: write_private(link, "x"),
    ):
        with pytest.raises(OSError, match="is a symbolic link"):
            write()
    assert target.exists() is not dangling
    assert dangling or target.read_text() == "precious"


def test_a_pipe_and_a_folder_are_refused_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for flags in (os.O_WRONLY, os.O_RDWR):
        with pytest.raises(OSError, match=r"not a regular file|No such device"):
            open_private(tmp_path / "pipe", flags)
    with pytest.raises(OSError, match="Is a directory"):
        open_private(tmp_path, os.O_WRONLY)


def test_a_descriptor_is_not_inherited(tmp_path: Path) -> None:
    descriptor = open_private(tmp_path / "file", os.O_WRONLY)
    assert not os.get_inheritable(descriptor)
    os.close(descriptor)


def test_a_place_where_others_could_rename_the_folder_is_refused(tmp_path: Path) -> None:
    tmp_path.chmod(0o777)
    with pytest.raises(ConfigError, match=r"chmod \+t"):
        temporary_folder("freshrank-", tmp_path)
    tmp_path.chmod(0o1777)
    assert temporary_folder("freshrank-", tmp_path).parent == tmp_path
