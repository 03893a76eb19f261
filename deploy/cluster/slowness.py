"""How much more time than usual a process needs, because others use its machine."""

from __future__ import annotations

import os

# Processes that want a core at a time, for each core, up to which the deadlines of a part hold.
COMMON_LOAD = 5.0


def slowness() -> float:
    """The factor for deadlines of processes on this machine, 1 or more.

    A part on another machine of the cluster is given as much time as one on this machine.
    """
    return slowness_at(os.getloadavg()[0], os.cpu_count() or 1)


def slowness_at(load: float, cores: int) -> float:
    """The factor where on average `load` processes want one of `cores` cores.

    >>> [slowness_at(load, cores=2) for load in (0.5, 10.0, 33.0)]
    [1.0, 1.0, 3.3]
    """
    return max(1.0, load / cores / COMMON_LOAD)
