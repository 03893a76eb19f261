"""Which faults are injected into a running system, in which order and when, from a seed."""

from __future__ import annotations

from collections.abc import Collection
from typing import TypeAlias

import numpy as np

from freshrank.benchmarks.chaos.faults import Fault
from freshrank.benchmarks.chaos.part_faults import (
    APPLICATION,
    HANG,
    INGRESS,
    LEARNER,
    RAYLET,
    REPLICA,
    SHARD,
)
from freshrank.benchmarks.chaos.producer_faults import (
    CODECS,
    WRONG_CLOCKS,
    WRONG_PARTITIONS,
    WRONG_UNITS,
)
from freshrank.benchmarks.chaos.server_faults import (
    BROKER,
    BUSY,
    STORE,
    STORE_FULL,
    TOPIC_MADE_ANEW,
)

FaultPlan: TypeAlias = list[tuple[float, Fault]]
"""Faults in order, each with the seconds that it waits after the one before has been mended."""

# The plans run at the same time. The application needs a broker and a store to start, and killing
# it would end a shard that hangs: these faults are in one plan, so that they never overlap.
CONCURRENT_FAULTS = (
    (SHARD, LEARNER, REPLICA, INGRESS),
    (STORE, STORE_FULL, BROKER, APPLICATION, HANG, BUSY),
    WRONG_CLOCKS,
    (*WRONG_UNITS, *WRONG_PARTITIONS, CODECS),
)

# The system does not work on after these: they are injected in this order, when all else is over.
LAST_FAULTS = (TOPIC_MADE_ANEW, RAYLET)

# The least and the most seconds between the end of a fault and the next of the same plan. The
# faults of the first plan are mended sooner, so they wait longer: all plans end at about the same
# time. Snapshots and checkpoints are taken every ten seconds: some faults find new ones, some old.
GAPS_S = ((2.0, 9.0), (0.5, 3.0), (0.5, 2.0), (0.5, 2.0))


def fault_plans(
    rounds: int, rng: np.random.Generator, left_out: Collection[Fault] = ()
) -> list[FaultPlan]:
    """Return the concurrent plans: in each round every fault of a plan once, in random order."""
    return [
        [
            (float(rng.uniform(*gap_s)), faults[at])
            for _ in range(rounds)
            for at in rng.permutation(len(faults)).tolist()
            if faults[at] not in left_out
        ]
        for faults, gap_s in zip(CONCURRENT_FAULTS, GAPS_S, strict=True)
    ]


def last_plan() -> FaultPlan:
    """Return the plan for the end of the system."""
    return [(0.0, fault) for fault in LAST_FAULTS]
