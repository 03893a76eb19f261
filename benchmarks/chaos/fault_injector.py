"""Injects faults into a running system, and waits after each until the system has mended it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from freshrank.benchmarks.chaos.detection import Observation
from freshrank.benchmarks.chaos.fault_plan import FaultPlan
from freshrank.benchmarks.chaos.faults import Fault, Handles


class FaultInjector:
    """Runs fault plans against one system; several may run at the same time.

    Parameters
    ----------
    log
        Called with a line before and after each fault.
    """

    def __init__(self, handles: Handles, log: Callable[[str], None]) -> None:
        self.silent: list[Fault] = []
        """The faults that nothing told of in time."""
        self.under_way: list[Fault] = []
        """The faults that are not mended yet."""
        self._handles = handles
        self._log = log

    async def inject(self, plan: FaultPlan) -> None:
        """Inject the faults of `plan` in order. Raises Unavailable for one that is not mended."""
        for wait_s, fault in plan:
            await self._handles.clock.sleep(wait_s)
            await self._inject(fault)

    async def _inject(self, fault: Fault) -> None:
        clock = self._handles.clock
        self._log(fault.line)
        self.under_way.append(fault)
        began = clock.monotonic()
        async with fault.inject(self._handles) as before:
            least_s = self._handles.rng.uniform(*fault.lasts_s)
            await asyncio.gather(self._until_told(fault, before), clock.sleep(least_s))
        self.under_way.remove(fault)
        self._log(f"{fault.line}: mended after {clock.monotonic() - began:.1f} s")

    async def _until_told(self, fault: Fault, before: Observation) -> None:
        if fault.told_by is None:
            return
        told_s = await self._handles.observer.seconds_until(fault.told_by, before)
        if told_s is None:
            self.silent.append(fault)
        self._log(
            f"{fault.line}: " + ("SILENT" if told_s is None else f"told after {told_s:.1f} s")
        )
