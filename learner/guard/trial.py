"""The trial after a rollback: what is held back, and whose loss is lower on what comes next."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from freshrank.actors.messages import Doubles, Gradient
from freshrank.actors.protocols import JsonValue
from freshrank.learner.evaluation.loss_sums import kept_sums, loss_sums, no_sums
from freshrank.learner.guard.change_point import sharpened
from freshrank.learner.guard.held_back import HeldBack, examples_of
from freshrank.learner.guard.loss_drift import LossDriftDetector
from freshrank.learner.guard.undo.kept_gradients import (
    gradient_arrays,
    gradients_from,
    gradients_to_json,
)
from freshrank.learner.models.losses import Loss

# Examples of a partition that tell whether it alone is worse: enough for some positives.
_FEWEST = 100


class Trial:
    """Gradients that are held back, and the losses by which the guard decides what becomes of them.

    All arrays of sums are those of `loss_sums`.
    """

    def __init__(self, loss: Loss) -> None:
        self._loss = loss
        self.held: list[HeldBack] = []
        self.calm = 0
        """Examples since the loss of the restored weights was last found to be worse."""
        self._restored: dict[int, Doubles] = {}
        """By partition: of the restored weights."""
        self._challenger: Doubles = no_sums(self._loss)

    @property
    def examples(self) -> int:
        """Examples that are held back."""
        return examples_of(self.held)

    @property
    def scored(self) -> int:
        """Examples that the restored weights have scored in this trial."""
        return int(sum(sums[0] for sums in self._restored.values()))

    @property
    def challenger_scored(self) -> int:
        """Examples that the challenger has scored."""
        return int(self._challenger[0])

    @property
    def challenger_better(self) -> bool:
        """Whether the challenger's mean loss is lower than that of the restored weights."""
        restored = np.sum(list(self._restored.values()), axis=0)
        return bool(self._challenger[1] / self._challenger[0] < restored[1] / restored[0])

    def __str__(self) -> str:
        """Both losses."""
        restored = np.sum(list(self._restored.values()), axis=0)
        name = self._loss.name.replace("_", " ")
        challenger = self._challenger[1] / self._challenger[0]
        return f"{name} {challenger:.3f}, {restored[1] / restored[0]:.3f} of the restored weights"

    def hold(self, gradient: Gradient) -> None:
        """Hold back what the restored weights have scored."""
        self.held.append(HeldBack(gradient, of_restored=True))
        sums = self._restored.setdefault(gradient.offset_range.partition, no_sums(self._loss))
        sums += loss_sums(self._loss, gradient)
        self.calm += len(gradient)

    def challenge(self, gradient: Gradient) -> None:
        """Count what the challenger has scored."""
        self._challenger += loss_sums(self._loss, gradient)

    def worse_partitions(self, detector: LossDriftDetector) -> list[int]:
        """Partitions that alone make the loss worse, fewer than those whose loss is normal.

        Entities are spread over the partitions by a hash, so the world does not change in some
        partitions only.
        """
        counted = {p: sums for p, sums in self._restored.items() if sums[0] >= _FEWEST}
        worse = [p for p, sums in counted.items() if detector.excess_of(sums) > 0.0]
        return sorted(worse) if 2 * len(worse) < len(counted) else []

    def suspect(self, partitions: Sequence[int], reason: str) -> None:
        """Make what is held back of some partitions suspicious, and nothing else."""
        for one in self.held:
            there = one.gradient.offset_range.partition in partitions
            one.suspicion = reason if there else ""

    def sharpen(self, kept: str, normal: float, tolerance: float) -> None:
        """Move suspicions to where the loss was worse (`sharpened`), but for those that say `kept`.

        `normal` is the mean loss without poison, which may be exceeded by the share `tolerance`.
        Each partition has an order of its own.
        """
        by_partition: dict[int, list[HeldBack]] = {}
        for one in self.held:
            if one.suspicion != kept:
                by_partition.setdefault(one.gradient.offset_range.partition, []).append(one)
        for held in by_partition.values():
            sums = [loss_sums(self._loss, one.gradient) for one in held]
            counts, losses = np.array(sums).T[:2]
            marked = np.array([bool(one.suspicion) for one in held])
            reason = next((one.suspicion for one in held if one.suspicion), "")
            worse = sharpened(marked, counts, losses, normal, tolerance)
            for one, suspicious in zip(held, worse.tolist(), strict=True):
                one.suspicion = (one.suspicion or reason) if suspicious else ""

    def start(self, held: list[HeldBack]) -> None:
        """Begin with what a rollback took out of the weights."""
        self.held, self.calm = held, 0
        self._restored, self._challenger = {}, no_sums(self._loss)

    def take(self) -> list[HeldBack]:
        """Give all that is held back, and hold it no longer."""
        held, self.held = self.held, []
        return held

    def meta(self) -> dict[str, JsonValue]:
        """What a checkpoint keeps of it as JSON; the rest is `arrays`."""
        return {
            "held": gradients_to_json([one.gradient for one in self.held]),
            "suspicions": [one.suspicion for one in self.held],
            "of_restored": [one.of_restored for one in self.held],
            "calm": self.calm,
            "restored": {str(key): sums.tolist() for key, sums in self._restored.items()},
            "challenger": self._challenger.tolist(),
        }

    def arrays(self) -> dict[str, NDArray[Any]]:
        """What is held back."""
        return gradient_arrays("held", [one.gradient for one in self.held])

    def restore(
        self, meta: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]], topics: Sequence[str]
    ) -> None:
        """Go on from what `meta` and `arrays` gave (`topics`: see `range_from_json`)."""
        gradients = gradients_from(meta["held"], "held", arrays, topics)
        parts = zip(gradients, meta["suspicions"], meta["of_restored"], strict=True)
        self.held = [HeldBack(*part) for part in parts]
        self.calm = meta["calm"]
        self._restored = {
            int(key): kept_sums(sums, self._loss) for key, sums in meta["restored"].items()
        }
        self._challenger = np.array(meta["challenger"])
