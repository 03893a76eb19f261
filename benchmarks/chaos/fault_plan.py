"""Which faults are injected into a running system, in which order and when, from a seed."""

from __future__ import annotations

from enum import Enum
from typing import TypeAlias

import numpy as np


class Fault(Enum):
    """A fault, with the line that announces it."""

    SHARD = "the shard is killed"
    LEARNER = "the learner is killed"
    REPLICA = "the replica is killed"
    INGRESS = "HAProxy is killed"
    HANG = "the shard is stopped, and continued after another took over"
    STORE = "Redis is killed, and comes back empty"
    BROKER = "Kafka is away"
    APPLICATION = "the whole application is killed, and started again"


FaultPlan: TypeAlias = list[tuple[float, Fault]]
"""Faults in order, each with the seconds that it waits after the one before has been mended."""

# Two plans run at the same time. The application needs a broker and a store to start, and killing
# it would end a shard that hangs: these faults are in one plan, so that they never overlap.
CONCURRENT_FAULTS = (
    (Fault.SHARD, Fault.LEARNER, Fault.REPLICA, Fault.INGRESS),
    (Fault.STORE, Fault.BROKER, Fault.APPLICATION, Fault.HANG),
)

# The least and the most seconds between the end of a fault and the next of the same plan. The
# faults of the first plan are mended sooner, so they wait longer: both plans end at about the same
# time. Snapshots and checkpoints are taken every ten seconds: some faults find new ones, some old.
GAPS_S = ((2.0, 12.0), (0.5, 5.0))


def fault_plans(rounds: int, rng: np.random.Generator) -> list[FaultPlan]:
    """Return the concurrent plans: in each round every fault of a plan once, in random order."""
    return [
        [
            (float(rng.uniform(*gap_s)), faults[at])
            for _ in range(rounds)
            for at in rng.permutation(len(faults)).tolist()
        ]
        for faults, gap_s in zip(CONCURRENT_FAULTS, GAPS_S, strict=True)
    ]
