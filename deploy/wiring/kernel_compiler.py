"""Kernels are compiled before the first run of a version, not by each of its processes."""

from __future__ import annotations

import asyncio
import contextlib
import sys
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import Callable, Sequence

from freshrank.actors.kernels import cache
from freshrank.deploy.servers.processes.child import tethered

_COMMAND = (sys.executable, "-m", "freshrank.deploy.wiring.kernel_warmup")
# Characters of the last line of a compiler that failed.
_LONGEST = 200


async def compile_kernels(log: Callable[[str], None], command: Sequence[str] = _COMMAND) -> None:
    """Compile all kernels, unless they are in the cache, with a line of `log` for each step.

    Else each of the learner, the shards and the replicas would compile them, all at once, and none
    answers while it waits for a kernel. `command` prints a line for each step to standard error.
    Where it fails, that is logged: each kernel is compiled when it is first used.
    """
    if not cache.is_incomplete():
        return
    log("compiling kernels, once for this version: about a minute")
    process = await asyncio.create_subprocess_exec(
        *tethered(command), stdin=DEVNULL, stdout=DEVNULL, stderr=PIPE, start_new_session=True
    )
    try:
        last = await _log_lines(process, log)
        if await process.wait():
            log(f"the kernels were not compiled, each will be when it is first used: {last}")
    finally:
        with contextlib.suppress(ProcessLookupError):  # it has ended
            process.kill()
        await process.wait()


async def _log_lines(process: Process, log: Callable[[str], None]) -> str:
    """Log what the process prints while it works; gives the last line, cut."""
    assert process.stderr is not None
    last = ""
    async for line in process.stderr:
        last = line.decode(errors="replace").strip()[:_LONGEST]
        if last.startswith("compiling"):
            log(last)
    return last
