"""Progressive validation: every example is scored before it is learned from.

Two scores of the same examples stand side by side: that of the live weights, and that of a copy
frozen earlier, so that their difference is what learning online is worth.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from freshrank.actors.messages import Doubles, Floats
from freshrank.actors.protocols import JsonValue
from freshrank.learner.evaluation.metrics import Quality, ScoreHistogram, exact_auc, log_loss

# Enough for a steady figure with few positives, little enough to show drift within a minute.
_RECENT = 20_000


class _Recent:
    """The last `_RECENT` examples as they are: label, live score, reference score (or NaN)."""

    def __init__(self) -> None:
        self._ring: Floats = np.empty((3, _RECENT), np.float32)
        self._added = 0

    def add(self, labels: Floats, scores: Floats, reference: Floats | None) -> None:
        kept = slice(-_RECENT, None)
        count = len(labels[kept])
        places = (self._added + np.arange(count)) % _RECENT
        self._ring[0, places] = labels[kept]
        self._ring[1, places] = scores[kept]
        self._ring[2, places] = np.nan if reference is None else reference[kept]
        self._added += count

    def quality(self) -> tuple[Quality, Quality]:
        """Of the live weights, and of the reference where it scored."""
        labels, scores, reference = self._ring[:, : min(self._added, _RECENT)]
        judged = ~np.isnan(reference)
        return _quality(labels, scores), _quality(labels[judged], reference[judged])


def _quality(labels: Floats, scores: Floats) -> Quality:
    mean_loss = log_loss(labels, scores) / len(labels) if len(labels) else float("nan")
    return Quality(exact_auc(labels, scores), mean_loss)


class ProgressiveValidation:
    """The figures of one learner: over its life, since the reference was frozen, and lately."""

    def __init__(self) -> None:
        self.lifetime = ScoreHistogram()
        self.live = ScoreHistogram()
        """The live weights, over the examples that the reference scored too."""
        self.reference = ScoreHistogram()
        self._recent = _Recent()

    def add(self, labels: Floats, scores: Floats, reference: Floats | None) -> None:
        """Count examples that were scored and not yet learned, float32[n] each."""
        self.lifetime.add(labels, scores)
        if reference is not None:
            self.live.add(labels, scores)
            self.reference.add(labels, reference)
        self._recent.add(labels, scores, reference)

    def compare_anew(self) -> None:
        """Another copy was frozen: forget how the last one compared."""
        self.live, self.reference = ScoreHistogram(), ScoreHistogram()
        self._recent = _Recent()

    def status(self) -> dict[str, JsonValue]:
        """AUC and log loss (None where undefined) and how many examples they rest on."""
        live, frozen = self._recent.quality()
        return {
            "judged": self.lifetime.count,
            "auc": _plain(self.lifetime.quality().auc),
            "log_loss": _plain(self.lifetime.quality().log_loss),
            "compared": self.live.count,
            "auc_live": _plain(self.live.quality().auc),
            "auc_frozen": _plain(self.reference.quality().auc),
            "log_loss_live": _plain(self.live.quality().log_loss),
            "log_loss_frozen": _plain(self.reference.quality().log_loss),
            "auc_recent": _plain(live.auc),
            "auc_recent_frozen": _plain(frozen.auc),
            "log_loss_recent": _plain(live.log_loss),
            "log_loss_recent_frozen": _plain(frozen.log_loss),
        }

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Copies of what a checkpoint keeps: all but the recent examples."""
        three = (self.lifetime, self.live, self.reference)
        losses: Doubles = np.array([one.loss for one in three])
        return {
            "validation_counts": np.stack([one.counts for one in three]),
            "validation_losses": losses,
        }

    @classmethod
    def restore(cls, arrays: Mapping[str, NDArray[Any]]) -> ProgressiveValidation:
        """Go on from what `arrays` gave."""
        validation = cls()
        three = (validation.lifetime, validation.live, validation.reference)
        for number, one in enumerate(three):
            one.counts = arrays["validation_counts"][number].copy()
            one.loss = float(arrays["validation_losses"][number])
        return validation


def _plain(value: float) -> float | None:
    return None if np.isnan(value) else float(value)
