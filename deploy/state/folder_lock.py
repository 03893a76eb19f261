"""The lock of a state folder: the file that the run on it holds."""

from __future__ import annotations

import fcntl
import os
import re
from pathlib import Path

import psutil

LOCK = "lock"
"""The file, with the process and the host of the run that holds it, or held it last."""

_HOLDER = re.compile(r"process (\d+) of (.+)")


def holder_text(process: int) -> str:
    """What the file says of a run in `process` of this host.

    >>> holder_text(42).startswith("process 42 of ")
    True
    """
    return f"process {process} of {os.uname().nodename}"


def holder(folder: Path) -> str | None:
    """The process and host of the run that holds `folder`; None where none does.

    Nothing is written. Raises OSError.
    """
    file = folder / LOCK
    if not file.exists():
        return None
    with file.open("rb") as opened:
        try:
            # Shared, and gone with `opened`.
            fcntl.flock(opened, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return file.read_text(errors="replace")
    return None


def process_here(folder: Path, held: str) -> int | None:
    """The id of the process of a `holder`; None where no process of that id here has the lock open.

    That of another host, or of another container, is not here.
    """
    found = _HOLDER.fullmatch(held)
    if found is None:
        return None
    process, lock = int(found[1]), os.path.realpath(folder / LOCK)
    try:
        opened = psutil.Process(process).open_files()
    except psutil.Error:
        return None
    return process if any(one.path == lock for one in opened) else None
