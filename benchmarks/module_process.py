"""Runs a module or a script in a process of its own, so that all that is compared starts equal."""

from __future__ import annotations

import asyncio
import contextlib
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from freshrank.actors.errors import Unavailable

# Characters of standard error that go into the message: the traceback's end.
_ERROR_TAIL = 2_000
# Seconds that a process has to end by itself.
_GRACE_S = 10.0


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


async def run_until_cancelled(script: Path, arguments: Sequence[str]) -> bytes:
    """Run a script of `benchmarks/peers`, as `run_script`, until it ends or the task is cancelled.

    A cancelled one is asked to end, and killed where it has not after `_GRACE_S`.
    """
    process = await asyncio.create_subprocess_exec(
        sys.executable, str(script), *arguments,
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    try:
        output, errors = await process.communicate()
    except asyncio.CancelledError:
        await _end(process)
        raise
    if process.returncode != 0:
        said = errors.decode(errors="replace")[-_ERROR_TAIL:]
        raise Unavailable(f"{script.name} {arguments[0]}", said)
    return output


async def _end(process: asyncio.subprocess.Process) -> None:
    """End a process, and wait for its end; what it still prints is read and dropped."""
    with contextlib.suppress(ProcessLookupError):
        process.terminate()
    try:
        async with asyncio.timeout(_GRACE_S):
            await process.communicate()
    except TimeoutError:
        process.kill()
        await process.wait()


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
