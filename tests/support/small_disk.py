"""A real file system of a few megabytes, to be filled up, that nobody can leave behind."""

from __future__ import annotations

import contextlib
import errno
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

# Mounts, and holds the mount until its input ends: with the test, however that ends.
_HOLD = 'mount -t tmpfs -o "$1" freshrank "$2" && cd "$2" && echo mounted && exec cat'

# How to come to a namespace of mounts: anybody can in a namespace of users of their own, where
# the machine lets them have one; root can without.
_WAYS = (("--user", "--map-root-user", "--mount"), ("--mount",))

_FILLER = "filler"
_BLOCK = bytes(1 << 16)


class CannotMount(Exception):
    """No file system can be mounted here."""


@contextlib.contextmanager
def small_disk(place: Path, options: str) -> Iterator[Path]:
    """A tmpfs with these options of `mount`, as the folder where everybody sees it.

    It is mounted at `place` in the namespace of a child, seen through /proc, and gone when the
    child is. Raises CannotMount where mounting is not permitted.
    """
    if shutil.which("unshare") is None:
        raise CannotMount("there is no `unshare` (util-linux)")
    place.mkdir()
    refusals = []
    for way in _WAYS:
        with subprocess.Popen(
            ["unshare", *way, "sh", "-c", _HOLD, "sh", options, str(place)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        ) as holder:
            assert holder.stdout is not None and holder.stderr is not None
            if holder.stdout.readline() == "mounted\n":
                yield Path(f"/proc/{holder.pid}/cwd")
                return
            refusals.append(holder.stderr.read().strip())
    raise CannotMount("; ".join(refusals))


def fill(disk: Path) -> None:
    """Take all the space that is left on it."""
    with (disk / _FILLER).open("ab", buffering=0) as file:
        try:
            while True:
                file.write(_BLOCK)
        except OSError as error:
            if error.errno != errno.ENOSPC:
                raise


def free(disk: Path) -> None:
    """Give all of that back, if any was taken."""
    (disk / _FILLER).unlink(missing_ok=True)
