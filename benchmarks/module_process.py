"""Runs a module or a script in a process of its own, so that all that is compared starts equal."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from freshrank.actors.errors import Unavailable

# Characters of standard error that go into the message: the traceback's end.
_ERROR_TAIL = 2_000


def run_module(
    module: str, arguments: Sequence[str], timeout_s: float, standard_input: bytes = b""
) -> bytes:
    """Run ``python -m MODULE ARGUMENTS`` and return its standard output.

    Raises Unavailable with the end of its standard error when it fails or exceeds `timeout_s`.

    >>> run_module("platform", ["terse", "--help"], 60.0) != b""
    True
    """
    return _run(module, ["-m", module, *arguments], timeout_s, standard_input)


def run_script(script: Path, arguments: Sequence[str], timeout_s: float | None = None) -> bytes:
    """Run a script of `benchmarks/peers` to its end; gives what it prints.

    It makes its environment first where there is none. Raises Unavailable with the end of its
    standard error when it fails, or exceeds `timeout_s` (None: however long it takes).
    """
    return _run(f"{script.name} {arguments[0]}", [str(script), *arguments], timeout_s, b"")


def _run(name: str, command: Sequence[str], timeout_s: float | None, given: bytes) -> bytes:
    try:
        done = subprocess.run(
            [sys.executable, *command],
            input=given, capture_output=True, check=False, timeout=timeout_s,
        )  # fmt: skip
    except subprocess.TimeoutExpired as error:
        raise Unavailable(name, f"not finished after {timeout_s:g} s") from error
    if done.returncode != 0:
        raise Unavailable(name, done.stderr.decode(errors="replace")[-_ERROR_TAIL:])
    return done.stdout
