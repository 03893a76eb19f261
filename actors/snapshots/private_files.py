"""Folders and files that only their owner may enter, read or write, whatever the umask is.

Every file that the system writes at a name which another user of the machine can foresee is opened
here: a symbolic link in its place is refused, and what the link leads to stays as it is.
"""

from __future__ import annotations

import atexit
import errno
import os
import shutil
import stat
import tempfile
from pathlib import Path

from freshrank.actors.errors import ConfigError

_FOLDER_MODE = 0o700
_FILE_MODE = 0o600
# In a temporary folder: the folder is to be kept.
_KEPT = ".keep"
_OTHERS = 0o077  # the permissions of the group and of all others


def open_private(path: Path, flags: int) -> int:
    """Open a regular file for writing, made where it is missing; gives its descriptor.

    `flags` are ``os.O_WRONLY`` or ``os.O_RDWR``, with ``os.O_APPEND`` or ``os.O_TRUNC``. Programs
    that this process starts do not inherit the descriptor.

    Raises OSError, also when there is a symbolic link, a pipe or a device at `path`, and when the
    file belongs to another user and is open to others.
    """
    wanted = flags & ~os.O_TRUNC | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    try:
        descriptor = os.open(path, wanted, _FILE_MODE)
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise _refused(path, "is a symbolic link, which is not followed") from error
        raise
    try:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode):
            raise _refused(path, "is not a regular file")
        if found.st_mode & _OTHERS:
            os.fchmod(descriptor, _FILE_MODE)
        if flags & os.O_TRUNC:  # not before it is known what would be truncated
            os.ftruncate(descriptor, 0)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def write_private(path: Path, text: str) -> None:
    """Write a small text file. Raises OSError as `open_private` does."""
    with os.fdopen(open_private(path, os.O_WRONLY | os.O_TRUNC), "w", encoding="utf-8") as file:
        file.write(text)


def make_private_folder(folder: Path) -> None:
    """Make `folder`, and what it lies in, where they are missing; tighten it where it is open.

    A folder of another user is left as it is. Raises OSError.
    """
    for missing in reversed([one for one in (folder, *folder.parents) if not one.exists()]):
        missing.mkdir(mode=_FOLDER_MODE, exist_ok=True)
    tighten(folder)


def tighten(folder: Path) -> None:
    """Take the permissions of others from a folder of this user. Raises OSError."""
    found = folder.stat()
    if found.st_uid == os.geteuid() and found.st_mode & _OTHERS:
        folder.chmod(stat.S_IMODE(found.st_mode) & ~_OTHERS)


def temporary_folder(prefix: str, parent: Path = Path("/tmp")) -> Path:
    """Make a private folder with a random name; it is removed when this process ends.

    It is not below TMPDIR: the path of a Unix socket has at most 107 bytes, and Ray adds 64.

    Raises ConfigError when other users could rename or replace a folder in `parent`: where that is
    writable by others and not sticky, as ``/tmp`` should be.
    """
    mode = parent.stat().st_mode
    if mode & (stat.S_IWGRP | stat.S_IWOTH) and not mode & stat.S_ISVTX:
        raise ConfigError(
            str(parent), "other users may rename what lies there", f"chmod +t {parent}"
        )
    folder = Path(tempfile.mkdtemp(prefix=prefix, dir=parent))
    atexit.register(_remove, folder)
    return folder


def keep(folder: Path) -> None:
    """Keep a folder of `temporary_folder` after the end of this process."""
    (folder / _KEPT).touch()


def _remove(folder: Path) -> None:
    if not (folder / _KEPT).exists():
        shutil.rmtree(folder, ignore_errors=True)


def _refused(path: Path, reason: str) -> OSError:
    return OSError(errno.EPERM, f"{path} {reason}")
