"""Runs a module in a process of its own, so that both sides of a ratio start equal."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence

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
    try:
        done = subprocess.run(
            [sys.executable, "-m", module, *arguments],
            input=standard_input, capture_output=True, check=False, timeout=timeout_s,
        )  # fmt: skip
    except subprocess.TimeoutExpired as error:
        raise Unavailable(module, f"not finished after {timeout_s:g} s") from error
    if done.returncode != 0:
        raise Unavailable(module, done.stderr.decode(errors="replace")[-_ERROR_TAIL:])
    return done.stdout
