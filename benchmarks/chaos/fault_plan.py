"""What is done to a running system, and when: by the throw of dice that can be thrown again."""

from __future__ import annotations

from enum import Enum
from typing import TypeAlias

import numpy as np


class Fault(Enum):
    """One thing that goes wrong."""

    SHARD = "the shard is killed"
    LEARNER = "the learner is killed"
    REPLICA = "the replica is killed"
    INGRESS = "HAProxy is killed"
    HANG = "the shard is stopped, and goes on after another took over"
    STORE = "Redis is killed, and comes back empty"
    BROKER = "Kafka is away"
    APPLICATION = "the whole application is killed, and started again"


Plan: TypeAlias = list[tuple[float, Fault]]
"""Faults one after another, and how many seconds after the one before each comes."""

# Two hands hurt the system at the same time. The application is not started without a broker and
# a store (it would refuse), and a shard that hangs with it is killed with it, so that one hand does
# all of these.
HANDS = (
    (Fault.SHARD, Fault.LEARNER, Fault.REPLICA, Fault.INGRESS),
    (Fault.STORE, Fault.BROKER, Fault.APPLICATION, Fault.HANG),
)

# Seconds between the end of one fault and the next of the same hand, at least and at most. What
# the first hand does is mended sooner: it waits longer, so that both are done at the same time.
# Snapshots and checkpoints come every ten seconds: some faults find new ones, some the old.
GAPS_S = ((2.0, 12.0), (0.5, 5.0))


def plans(rounds: int, rng: np.random.Generator) -> list[Plan]:
    """What each hand does: all its faults, so many times, each time in another order."""
    return [
        [
            (float(rng.uniform(*gap_s)), hand[at])
            for _ in range(rounds)
            for at in rng.permutation(len(hand)).tolist()
        ]
        for hand, gap_s in zip(HANDS, GAPS_S, strict=True)
    ]
