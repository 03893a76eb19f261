"""What a learner counts, for its status."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from freshrank.actors.metrics.latency_histogram import RecentLatencies
from freshrank.actors.metrics.rate_counter import RateCounter
from freshrank.actors.protocols import JsonValue
from freshrank.learner.guard.quarantine import Refusal

# Seconds that rates are taken over: steady enough to read, quick enough to show a stall.
_RATE_S = 10.0


class LearnerMetrics:
    """Counts since the start of the learner, and recent rates and freshness.

    The counts of examples are in the checkpoint and go on after a restart.
    """

    def __init__(self) -> None:
        self.steps = 0
        self.examples = 0
        self.learned_later = 0
        """Of `examples`: those that the guard had held back first."""
        self.refused_out_of_turn = 0
        self.refused_stale = 0
        self.guard_trips = 0
        self.refused = dict.fromkeys(Refusal, 0)
        """Examples that the guard refused, by reason."""
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

    @property
    def quarantined(self) -> int:
        """Examples that the guard refused."""
        return sum(self.refused.values())

    def count_refusal(self, reason: Refusal, examples: int) -> None:
        """Count examples that the guard refused at once."""
        self.guard_trips += 1
        self.refused[reason] += examples

    def count_recovered(self, examples: int, *, later: bool) -> None:
        """Count examples that a recovery learns: `later` than others, when it held them back."""
        self.examples += examples
        self.learned_later += examples if later else 0

    def count_rollback(self, undone: int, undone_later: int) -> None:
        """Count a rollback: `undone` examples, of which `undone_later` were learned later."""
        self.guard_trips += 1
        self.examples -= undone
        self.learned_later -= undone_later

    def kept(self) -> dict[str, JsonValue]:
        """What a checkpoint keeps."""
        refused: dict[str, JsonValue] = {str(reason): n for reason, n in self.refused.items()}
        return {
            "examples": self.examples,
            "learned_later": self.learned_later,
            "refused": refused,
        }

    def restore(self, kept: Mapping[str, Any]) -> None:
        """Go on from what `kept` gave; checkpoints of before do not tell reasons apart."""
        self.examples = kept["examples"]
        self.learned_later = kept.get("learned_later", 0)
        refused = kept.get("refused") or {Refusal.LOSS: kept["quarantined"]}
        self.refused |= {Refusal(reason): examples for reason, examples in refused.items()}

    def status(self, monotonic: float) -> dict[str, JsonValue]:
        """Plain JSON.

        `examples` counts learned examples, `examples_learned_later` those of them that had been
        held back first, and `examples_quarantined` refused ones: learned and refused are, with the
        `examples_held_back` of `Learner.status`, all that was ever accepted and is not pending.
        `examples_refused` are those by reason. `staleness_steps` counts gradients by age: 0, 1,
        2-3, 4-7, ... steps.
        """
        return {
            "steps": self.steps,
            "examples": self.examples,
            "examples_learned_later": self.learned_later,
            "steps_per_s": self._step_rate.per_second(monotonic) or 0.0,
            "examples_per_s": self._example_rate.per_second(monotonic) or 0.0,
            "staleness_steps": {str(lag): self._lags[lag] for lag in sorted(self._lags)},
            "refused_out_of_turn": self.refused_out_of_turn,
            "refused_stale": self.refused_stale,
            "guard_trips": self.guard_trips,
            "examples_quarantined": self.quarantined,
            "examples_refused": {str(reason): n for reason, n in self.refused.items()},
            "freshness": self._freshness.at(monotonic).to_json(),
        }
