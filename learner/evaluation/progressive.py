"""Progressive validation: every example is scored before it is learned from.

Each example is judged by the score that was served, and by that of the reference model, a copy
frozen earlier. The difference of their losses is the value of learning online. An example that
corrects an earlier example takes that back.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from freshrank.actors.messages import Bools, Doubles, Floats, Gradient
from freshrank.actors.protocols import JsonValue
from freshrank.learner.evaluation.calibration import calibration_error
from freshrank.learner.evaluation.class_tally import ClassReport, ClassTally
from freshrank.learner.evaluation.input_drift import InputDrift
from freshrank.learner.evaluation.metrics import Quality, ScoreHistogram, errors_of, exact_auc
from freshrank.learner.evaluation.slate_tally import SlateTally
from freshrank.learner.models.losses import Loss

# Examples behind the recent metrics: enough for a steady AUC with few positives, few enough to show
# drift within a minute.
_RECENT = 20_000
# Numbers of examples predicted highest, of which the share of positives is given: lists that a
# person can look through.
PRECISION_AT = (100, 1_000)


def tally_of(loss: Loss) -> ScoreHistogram | ClassTally:
    """What counts labels and predictions of a loss."""
    if loss.listwise:
        return SlateTally(loss)
    return ClassTally(loss) if loss.classes else ScoreHistogram(loss)


class _Recent:
    """The last `_RECENT` examples: label, live and reference prediction (or NaN), and count."""

    def __init__(self, loss: Loss) -> None:
        self._loss = loss
        shape = (_RECENT, len(loss.classes)) if loss.classes else (_RECENT,)
        self._labels, self._counts = np.empty((2, _RECENT), np.float32)
        self._live, self._reference = np.empty((2, *shape), np.float32)
        self._added = 0

    def add(
        self, labels: Floats, live: Floats, reference: Floats | None, counts: Floats | None
    ) -> None:
        kept = slice(-_RECENT, None)
        count = len(labels[kept])
        places = (self._added + np.arange(count)) % _RECENT
        self._labels[places] = labels[kept]
        self._live[places] = live[kept]
        self._reference[places] = np.nan if reference is None else reference[kept]
        self._counts[places] = 1.0 if counts is None else counts[kept]
        self._added += count

    def quality(self) -> tuple[Quality, Quality]:
        """Of the live weights, and of the reference model where it scored."""
        width = max(1, len(self._loss.classes))
        ring = (self._labels, self._live, self._reference, self._counts)
        labels, live, reference, counts = (part[: min(self._added, _RECENT)] for part in ring)
        compared = ~np.isnan(reference).reshape(len(labels), width).any(axis=1)
        frozen = self._of(labels[compared], reference[compared], counts[compared])
        return self._of(labels, live, counts), frozen

    def _of(self, labels: Floats, predictions: Floats, counts: Floats) -> Quality:
        if self._loss.classes or self._loss.listwise:
            tally = tally_of(self._loss)
            tally.add(labels, predictions, counts)
            return tally.quality()
        # Of all the traffic, where only a share of the negatives is learned.
        stand_for = np.where(labels > 0.5, counts, counts / self._loss.negatives_kept)
        examples = float(stand_for.sum(dtype=np.float64))
        if examples <= 0.0:
            return Quality()
        loss = float((self._loss.of_traffic(labels, predictions) * counts).sum()) / examples
        if self._loss.binary:
            return Quality(exact_auc(labels, predictions, counts), loss)
        _, error, covered = (errors_of(labels, predictions, counts) / examples).tolist()
        return Quality(loss=loss, mean_absolute_error=error, coverage=covered)


class ScoredExamples(NamedTuple):
    """Examples with their predictions, float32[n] each, or [n, c] of classes."""

    labels: Floats
    live: Floats
    """What was served, or else the prediction of the weights that had not learned it."""
    reference: Floats | None
    """Of the reference model; None without a reference model."""
    counts: Floats | None = None
    """Their weights, or -1 for an example of before that is taken back; None where all are 1."""


def scored_examples(gradient: Gradient) -> ScoredExamples:
    """The examples of a gradient; a correction gives two: one to add, one to take back."""
    labels, live, corrects = gradient.labels, gradient.scores, gradient.corrects
    reference = gradient.reference_scores
    if gradient.served is not None:
        live = np.where(np.isnan(gradient.served), live, gradient.served)
    if corrects is None:
        return ScoredExamples(labels, live, reference, gradient.weights)
    counts = np.ones_like(labels) if gradient.weights is None else gradient.weights
    taken_back = np.full(np.count_nonzero(corrects), np.float32(-1.0))
    return ScoredExamples(
        np.concatenate([labels, np.zeros_like(taken_back)]),
        np.concatenate([live, live[corrects]]),
        None if reference is None else np.concatenate([reference, reference[corrects]]),
        np.concatenate([counts, taken_back]),
    )


class ProgressiveValidation:
    """Quality of one learner: over its life, since the reference was frozen, and recently.

    Parameters
    ----------
    loss
        Of the model.
    inputs
        The names of the dense inputs, whose drift it follows.
    topics
        The pipeline's source topics, that of the impressions the last.
    """

    def __init__(self, loss: Loss, inputs: Sequence[str] = (), topics: Sequence[str] = ()) -> None:
        self._loss = loss
        self._shown = topics[-1] if topics else ""
        self._compared_from: dict[int, int] = {}
        """By partition: the offset of the first impression whose items may be compared."""
        self.drift = InputDrift(inputs)
        self.lifetime = tally_of(loss)
        self.live = tally_of(loss)
        """The live weights, over the examples that the reference model scored too."""
        self.reference = tally_of(loss)
        self._recent = _Recent(loss)
        self.judged: Callable[[Floats], None] = lambda predictions: None
        """Called with the predictions that examples are judged by, in their order."""

    def take(self, gradient: Gradient) -> None:
        """Count the examples of a gradient, and their inputs."""
        scored = scored_examples(gradient)
        self.judged(scored.live)
        self.add(*scored, self._compared(gradient))
        self.drift.add(gradient.moments)

    def add(
        self,
        labels: Floats,
        live: Floats,
        reference: Floats | None,
        counts: Floats | None = None,
        compared: Bools | None = None,
    ) -> None:
        """Count examples (see `ScoredExamples`) that were scored before they were learned.

        Those that are not `compared`, bool[n], count as if there were no reference. Leaves out all
        of them when a score or a label is not finite: there is no loss to count.
        """
        if not (np.isfinite(labels).all() and np.isfinite(live).all()):
            return
        self.lifetime.add(labels, live, counts)
        if reference is not None:
            every = np.ones(len(labels), np.bool_)
            taken = every if compared is None else compared
            times = None if counts is None else counts[taken]
            self.live.add(labels[taken], live[taken], times)
            self.reference.add(labels[taken], reference[taken], times)
            reference = reference.copy()
            reference[~taken] = np.nan
        self._recent.add(labels, live, reference, counts)

    def restart_comparison(self) -> None:
        """Drop the comparison with the reference model: another was frozen."""
        self.live, self.reference = tally_of(self._loss), tally_of(self._loss)
        self._recent, self._compared_from = _Recent(self._loss), {}

    def _compared(self, gradient: Gradient) -> Bools | None:
        """Of its `scored_examples`: not the corrections of what the reference has not scored.

        They would take back an example that the comparison has not counted.
        """
        if gradient.reference_scores is None:
            return None
        span = gradient.offset_range
        begin = self._compared_from.setdefault(span.partition, span.begin[self._shown])
        if gradient.corrects is None or gradient.origins is None:
            return None
        known = ~gradient.corrects | (gradient.origins >= begin)
        return np.concatenate([known, known[gradient.corrects]])

    def status(self) -> dict[str, JsonValue]:
        """AUC, mean loss and more (None where undefined), and the number of examples behind them.

        The means of the loss go by its name, which `objective` gives: ``log_loss``,
        ``log_loss_live``, ... `measure` names the quality in addition to the loss: ``auc`` of
        labels that are 0 or 1, ``accuracy`` of classes, ``mean_absolute_error`` of numbers,
        ``mean_reciprocal_rank`` of slates.
        """
        loss = self._loss.name
        recent, recent_frozen = self._recent.quality()
        qualities = {
            "": self.lifetime.quality(),
            "_live": self.live.quality(),
            "_frozen": self.reference.quality(),
            "_recent": recent,
            "_recent_frozen": recent_frozen,
        }
        return {
            "judged": self.lifetime.count,
            "compared": self.live.count,
            "objective": loss,
            "measure": self._measure,
            **{
                f"{loss if name == 'loss' else name}{when}": _plain(value)
                for when, quality in qualities.items()
                for name, value in quality._asdict().items()
            },
            **self._of_probabilities(),
            **self.drift.status(),
        }

    @property
    def _measure(self) -> str:
        if self._loss.listwise:
            return "mean_reciprocal_rank"
        if self._loss.classes:
            return "accuracy"
        return "auc" if self._loss.binary else "mean_absolute_error"

    def _of_probabilities(self) -> dict[str, JsonValue]:
        """Calibration error, and of classes their report, else base rate and precision.

        None where undefined.
        """
        found: dict[str, JsonValue] = {}
        tallies = {"": self.lifetime, "_live": self.live, "_frozen": self.reference}
        for when, tally in tallies.items():
            found[f"calibration_error{when}"] = _plain(calibration_error(tally.calibration()))
            if isinstance(tally, ScoreHistogram):
                found[f"average_precision{when}"] = _plain(tally.average_precision())
        if isinstance(self.lifetime, ClassTally):
            # A list: no metric for each of the pipeline's names.
            found["classes"] = [_report(one) for one in self.lifetime.report()]
            return found
        if isinstance(self.lifetime, SlateTally):
            random = self.lifetime.of_random_order()
            found["random_loss"] = _plain(random.loss)
            found["random_reciprocal_rank"] = _plain(random.mean_reciprocal_rank)
            return found
        found["base_rate"] = _plain(self.lifetime.base_rate)
        for shown in PRECISION_AT:
            found[f"precision_at_{shown}"] = _plain(self.lifetime.precision_at(shown))
        return found

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Copies of what a checkpoint keeps: all but the recent examples."""
        histograms = (self.lifetime, self.live, self.reference)
        losses: Doubles = np.array([histogram.loss_sum for histogram in histograms])
        return {
            "validation_counts": np.stack([histogram.counts for histogram in histograms]),
            "validation_losses": losses,
            "validation_errors": np.stack([histogram.errors for histogram in histograms]),
            "validation_compared_from": np.array([*self._compared_from.items()], np.int64),
        }

    def restore(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Go on from what `arrays` gave; those of before have no errors of numbers."""
        errors = arrays.get("validation_errors", np.zeros((3, 3)))
        begins = arrays.get("validation_compared_from", np.zeros((0, 2), np.int64))
        self._compared_from = dict(begins.reshape(-1, 2).tolist())
        for number, histogram in enumerate((self.lifetime, self.live, self.reference)):
            histogram.counts = arrays["validation_counts"][number].astype(np.float64)
            histogram.loss_sum = float(arrays["validation_losses"][number])
            histogram.errors = errors[number].copy()


def _report(one: ClassReport) -> dict[str, JsonValue]:
    return {
        name: _plain(value) if isinstance(value, float) else value
        for name, value in one._asdict().items()
    }


def _plain(value: float) -> float | None:
    return None if np.isnan(value) else float(value)
