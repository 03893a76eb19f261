"""The lock of a state folder: the file that the run on it holds."""

from __future__ import annotations

import fcntl
from pathlib import Path

LOCK = "lock"
"""The file, with the process and the host of the run that holds it, or held it last."""


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
