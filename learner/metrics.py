"""What a learner counts, for its status."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from freshrank.actors.metrics.latency_histogram import RecentLatencies
from freshrank.actors.metrics.rate_counter import RateCounter
from freshrank.actors.protocols import JsonValue

# Seconds that rates are taken over: steady enough to read, quick enough to show a stall.
_RATE_S = 10.0


class LearnerMetrics:
    """Counts since the start of the learner, and recent rates and freshness.

    The counts of examples are in the checkpoint and go on after a restart.
    """

    def __init__(self) -> None:
        self.steps = 0
        self.examples = 0
        self.refused_out_of_turn = 0
        self.refused_stale = 0
        self.guard_trips = 0
        self.quarantined = 0
        self._lags: dict[int, int] = {}
        self._step_rate, self._example_rate = RateCounter(_RATE_S), RateCounter(_RATE_S)
        self._freshness = RecentLatencies()

    def count_lag(self, lag: int) -> None:
        """Count an accepted gradient that was `lag` steps old."""
        bucket = 0 if lag == 0 else 1 << (lag.bit_length() - 1)
        self._lags[bucket] = self._lags.get(bucket, 0) + 1

    def count_step(self, examples: int, freshness_ms: int, monotonic: float) -> None:
        """Count a published step over `examples`, whose newest event was `freshness_ms` old."""
        self.steps += 1
        self.examples += examples
        self._step_rate.add(1, monotonic)
        self._example_rate.add(examples, monotonic)
        self._freshness.add(np.array([freshness_ms], np.int64), monotonic)

    def count_trip(self, refused: int, undone: int = 0) -> None:
        """Count a refusal by the guard: `refused` examples, of which `undone` had been learned."""
        self.guard_trips += 1
        self.quarantined += refused
        self.examples -= undone

    def kept(self) -> dict[str, JsonValue]:
        """What a checkpoint keeps."""
        return {"examples": self.examples, "quarantined": self.quarantined}

    def restore(self, kept: Mapping[str, int]) -> None:
        """Go on from what `kept` gave."""
        self.examples, self.quarantined = kept["examples"], kept["quarantined"]

    def status(self, monotonic: float) -> dict[str, JsonValue]:
        """Plain JSON.

        `examples` counts learned examples and `examples_quarantined` refused ones: together all
        that was ever accepted and is not pending. `staleness_steps` counts gradients by age: 0, 1,
        2-3, 4-7, ... steps.
        """
        return {
            "steps": self.steps,
            "examples": self.examples,
            "steps_per_s": self._step_rate.per_second(monotonic) or 0.0,
            "examples_per_s": self._example_rate.per_second(monotonic) or 0.0,
            "staleness_steps": {str(lag): self._lags[lag] for lag in sorted(self._lags)},
            "refused_out_of_turn": self.refused_out_of_turn,
            "refused_stale": self.refused_stale,
            "guard_trips": self.guard_trips,
            "examples_quarantined": self.quarantined,
            "freshness": self._freshness.at(monotonic).to_json(),
        }
