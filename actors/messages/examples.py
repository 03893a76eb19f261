"""What a model learns from."""

from __future__ import annotations

from dataclasses import dataclass

from freshrank.actors.messages.arrays import Bools, Floats, Ints
from freshrank.actors.messages.model_inputs import Inputs
from freshrank.actors.messages.offsets import OffsetRange


@dataclass(frozen=True, slots=True)
class Examples:
    """The labelled input rows of an offset range, each exactly as it was served."""

    offset_range: OffsetRange
    inputs: Inputs
    labels: Floats
    """float32[n]: 0 or 1, the targets of a regression, or the places of classes."""
    event_times_ms: Ints
    """int64[n]: event time of the record that completed each example."""
    corrects: Bools | None = None
    """bool[n]: whether it corrects an example with these inputs and the label 0, which was learned
    before its label was known; None where none does."""
    served: Floats | None = None
    """float32[n]: the predictions that were served; None for inputs that were not served."""
    origins: Ints | None = None
    """int64[n]: the offset of the impression that showed each; None where none is a correction."""
    weights: Floats | None = None
    """float32[n]: how many times each counts, 0 or more; None where all count once."""

    def __len__(self) -> int:
        return len(self.labels)
