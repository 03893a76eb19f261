"""Faults of the system's own processes."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import AsyncIterator
from functools import partial

import psutil

from freshrank.actors.errors import Unavailable
from freshrank.benchmarks.chaos.detection import (
    Observation,
    either,
    not_ready,
    replaced,
    unreachable,
)
from freshrank.benchmarks.chaos.faults import Fault, Handles, Injection
from freshrank.benchmarks.workloads.system_process import kill_process


@contextlib.asynccontextmanager
async def _killed(handles: Handles, title: str) -> AsyncIterator[Observation]:
    """Kill the processes with `title`; at the end wait for a new one.

    There are two while one that was replaced, as an HAProxy is, still ends its connections.
    """
    system = handles.process.system

    async def processes() -> list[int]:
        return system.processes(title)

    before = await handles.wait_for(processes, f"there is no process {title}")
    observed = handles.observer.newest
    for process in before:
        kill_process(process)
    yield observed

    async def new_process() -> bool:
        return not set(before).issuperset(system.processes(title))

    await handles.wait_for(new_process, f"there is no new process {title}")


@contextlib.asynccontextmanager
async def _killed_part(handles: Handles, part: str, title: str) -> AsyncIterator[Observation]:
    """Kill the process that runs `part`; at the end wait until another runs it."""
    process = await _process_of(handles, part, title)
    before = handles.observer.newest
    kill_process(process)
    yield before
    await _taken_over(handles, part, title, process)


@contextlib.asynccontextmanager
async def _hanging_part(handles: Handles, part: str, title: str) -> AsyncIterator[Observation]:
    """Stop the process that runs `part`; it continues when another has taken over, and must end."""
    process = await _process_of(handles, part, title)
    before = handles.observer.newest
    _signal(process, signal.SIGSTOP)
    try:
        yield before
        await _taken_over(handles, part, title, process)
    finally:
        _signal(process, signal.SIGCONT)

    async def ended() -> bool:
        return process not in handles.process.system.processes(title)

    await handles.wait_for(ended, f"the replaced {part} still runs")


@contextlib.asynccontextmanager
async def _killed_application(handles: Handles) -> AsyncIterator[Observation]:
    before = handles.observer.newest
    await asyncio.to_thread(handles.process.kill)
    yield before
    await asyncio.to_thread(handles.process.start)


@contextlib.asynccontextmanager
async def _killed_raylet(handles: Handles) -> AsyncIterator[Observation]:
    """Kill Ray's node manager; the run has to end with status 1, and leave no process."""
    (raylet,) = (
        process
        for process in handles.process.system.processes("raylet")
        if psutil.Process(process).cmdline()[0].endswith("/raylet")
    )
    before = handles.observer.newest
    kill_process(raylet)
    yield before

    async def ended() -> str | None:
        return handles.process.ended

    how, left = await handles.wait_for(ended, "it runs on"), handles.process.system.processes("")
    if how != "ended with status 1" or left:
        raise Unavailable("freshrank run", f"without its raylet it {how}; processes left: {left}")


async def _process_of(handles: Handles, part: str, title: str) -> int:
    async def process() -> int | None:
        return await _running_process(handles, part, title)

    return await handles.wait_for(process, f"there is no {part}")


async def _taken_over(handles: Handles, part: str, title: str, process: int) -> None:
    async def other() -> bool:
        return await _running_process(handles, part, title) not in (None, process)

    await handles.wait_for(other, f"no process took over from {part}")


async def _running_process(handles: Handles, part: str, title: str) -> int | None:
    """Return the process that posted the newest status of `part`, if it still runs."""
    process = await handles.client.process_of(part)
    return process if process in handles.process.system.processes(title) else None


def _signal(process: int, number: signal.Signals) -> None:
    """Send a signal, unless the process has ended."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(process, number)


_SHARD: Injection = partial(_killed_part, part="shard-0", title="ShardHost")
_LEARNER: Injection = partial(_killed_part, part="learner", title="LearnerHost")
_HANG: Injection = partial(_hanging_part, part="shard-0", title="ShardHost")

_SHARD_TOLD = either(replaced("shard-0"), not_ready("shards"))

SHARD = Fault("the shard is killed", _SHARD, _SHARD_TOLD)
LEARNER = Fault(
    "the learner is killed", _LEARNER, either(replaced("learner"), not_ready("learner"))
)
REPLICA = Fault("the replica is killed", partial(_killed, title="ServeReplica"), unreachable)
INGRESS = Fault("HAProxy is killed", partial(_killed, title="bin/haproxy"), unreachable)
HANG = Fault("the shard is stopped, and continued after another took over", _HANG, _SHARD_TOLD)
APPLICATION = Fault(
    "the whole application is killed, and started again", _killed_application, unreachable
)

# It ends the run.
RAYLET = Fault("the raylet is killed", _killed_raylet, either(not_ready("driver"), unreachable))
