"""Half of what may go wrong with a running system, once each, under load and at random moments."""

from __future__ import annotations

import os
import random
from collections.abc import Sequence

import pytest
from rich.console import Console

from freshrank.benchmarks.chaos.bench import figures, survive
from freshrank.benchmarks.chaos.fault_plan import CONCURRENT_FAULTS, LAST_FAULTS
from freshrank.benchmarks.chaos.faults import Fault
from freshrank.benchmarks.chaos.server_faults import BUSY
from freshrank.benchmarks.registry import BenchOptions
from freshrank.benchmarks.workloads.scored_answer import LEAST_ANSWERS


def half_of(plan: Sequence[Fault]) -> Sequence[Fault]:
    """Some faults, drawn by the seed of the tests' order."""
    faults = [fault for fault in plan if fault is not BUSY]
    return random.sample(faults, (len(faults) + 1) // 2)


@pytest.mark.usefixtures("kafka_available_here")
def test_whatever_is_killed_hangs_or_is_away_nothing_is_lost_or_doubled(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # Those of the tests' own Ray are not for a cluster beside it.
    for name in [one for one in os.environ if one.startswith("RAY_")]:
        monkeypatch.delenv(name)

    # The bench has all faults, in four minutes. A busy machine, one of them, makes a test slow.
    chosen = [fault for plan in CONCURRENT_FAULTS for fault in half_of(plan)]
    others = [fault for plan in CONCURRENT_FAULTS for fault in plan if fault not in chosen]
    found = survive(BenchOptions(rounds=1), Console(), left_out=others)

    faults = [fault.line for fault in (*chosen, *LAST_FAULTS)]
    assert sorted(fault.line for fault in found.faults) == sorted(faults)
    assert [fault.line for fault in found.silent] == []
    assert [one for one in figures(found) if one.met is False] == []
    # There was something to lose; on a slow machine it is less.
    amounts = {one.name: one.value for one in figures(found)}
    assert amounts["events"] > 50_000 and amounts["spoilt"] > 500
    assert amounts["examples"] > 200 and amounts["answers"] > 50
    assert len(found.answers.after_faults) >= LEAST_ANSWERS
