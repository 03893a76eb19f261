"""Each thing that may go wrong with a running system, once, under load and at random moments."""

from __future__ import annotations

import os

import pytest
from rich.console import Console

from freshrank.benchmarks.chaos.bench import figures, survive
from freshrank.benchmarks.chaos.fault_plan import CONCURRENT_FAULTS, LAST_FAULTS
from freshrank.benchmarks.chaos.server_faults import BUSY
from freshrank.benchmarks.registry import BenchOptions


@pytest.mark.usefixtures("kafka_available_here")
def test_whatever_is_killed_hangs_or_is_away_nothing_is_lost_or_doubled(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # Those of the tests' own Ray are not for a cluster beside it.
    for name in [one for one in os.environ if one.startswith("RAY_")]:
        monkeypatch.delenv(name)

    # A busy machine makes a test slow: the bench has it.
    found = survive(BenchOptions(rounds=1), Console(), left_out=[BUSY])

    faults = [fault.line for faults in (*CONCURRENT_FAULTS, LAST_FAULTS) for fault in faults]
    faults.remove(BUSY.line)
    assert sorted(fault.line for fault in found.faults) == sorted(faults)
    assert [fault.line for fault in found.silent] == []
    assert [one for one in figures(found) if one.met is False] == []
    # There was something to lose.
    amounts = {one.name: one.value for one in figures(found)}
    assert amounts["events"] > 100_000 and amounts["spoilt"] > 1_000
    assert amounts["examples"] > 500 and amounts["answers"] > 200
    assert len(found.answers.after_faults) > 5
