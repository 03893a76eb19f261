"""What came of the lists of one partition, by the labels that the learner learned.

The rows come from the join that a shard makes (`PartitionJoin`), so that a click counts here if and
only if it was learned.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from freshrank.actors.errors import BadRecord
from freshrank.actors.impressions import decode_impression, served_draws
from freshrank.actors.kernels.hashing import hash_text
from freshrank.actors.records import RecordBatch
from freshrank.deploy.experiments.off_policy import Weighed, weighed
from freshrank.deploy.experiments.tally import ExperimentTally
from freshrank.feature_actors.labels.examples import LabelledRows, place_of
from freshrank.feature_actors.labels.joiner import MAX_DELAY_MS

# Lists that are kept until their time is over: more than can wait for clicks at once.
_MOST_SERVED = 500_000


@dataclass(slots=True)
class _Served:
    """A list whose items may be clicked still."""

    user: int
    at_ms: int
    arms: Mapping[str, str]
    """By experiment."""
    weighed: Weighed | None
    counted: bool = False
    """Whether it was counted as shown."""


class PartitionOutcomes:
    """Counts in `tallies`, by experiment, what the join of a partition gives."""

    def __init__(self, tallies: Mapping[str, ExperimentTally], positions: int) -> None:
        self._tallies, self._positions = tallies, positions
        self._served: dict[int, _Served] = {}
        """By the offset of the impression."""

    def note(self, batch: RecordBatch) -> None:
        """See `JoinedRows`."""
        for offset, value in zip(batch.offsets.tolist(), batch.values, strict=True):
            served = None if value is None else self._read(value)
            if served is not None:
                self._served[offset] = served

    def take(self, rows: LabelledRows) -> None:
        """See `JoinedRows`."""
        offsets, ranks = place_of(rows.order)
        positive = rows.labels > 0.5
        shown = np.flatnonzero(~positive)
        found, counts = np.unique(offsets[shown], return_counts=True)
        for offset, items in zip(found.tolist(), counts.tolist(), strict=True):
            self._show(offset, items)
        clicked = np.flatnonzero(positive)
        for offset, rank in zip(offsets[clicked].tolist(), ranks[clicked].tolist(), strict=True):
            self._click(offset, rank)

    def reached(self, final_ms: int) -> None:
        """See `JoinedRows`."""
        before_ms = final_ms - MAX_DELAY_MS  # by the replica's clock
        old = list[int]()
        for offset, served in self._served.items():  # in the order of the log
            if served.at_ms >= before_ms:
                break
            old.append(offset)
        beyond = len(self._served) - len(old) - _MOST_SERVED
        if beyond > 0:  # the time of the first is wrong
            old = list(self._served)[: len(old) + beyond]
        for offset in old:
            del self._served[offset]

    def _read(self, value: bytes) -> _Served | None:
        try:
            one = decode_impression(value)
            arms = {name: arm for name, arm in one.arms.items() if name in self._tallies}
            if not arms:
                return None
            draws, scores = served_draws(one), np.frombuffer(one.scores, dtype="<f4")
        except (BadRecord, ValueError):  # the impression's source rejects and counts it
            return None
        found = None
        if draws is not None and len(draws.greedy) == len(scores) > 0:
            found = weighed(draws, scores, self._positions)
        return _Served(hash_text(one.entity), one.at_ms, arms, found)

    def _show(self, offset: int, items: int) -> None:
        served = self._served.get(offset)
        if served is None or served.counted:
            return
        served.counted = True
        served.arms = {
            name: arm
            for name, arm in served.arms.items()
            if self._tallies[name].show(served.user, arm, items, self._of(name, arm, served))
        }

    def _click(self, offset: int, rank: int) -> None:
        served = self._served.get(offset)
        if served is None:
            return
        for name, arm in served.arms.items():
            self._tallies[name].click(served.user, arm, rank, self._of(name, arm, served))

    def _of(self, name: str, arm: str, served: _Served) -> Weighed | None:
        """The weights of a list, for the arm that explores: of another experiment's, none."""
        return served.weighed if self._tallies[name].explores(arm) else None
