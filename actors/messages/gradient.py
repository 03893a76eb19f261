"""What examples teach, from a shard to the learner."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from freshrank.actors.messages.arrays import Bools, Doubles, Floats, Ints
from freshrank.actors.messages.model_inputs import Inputs
from freshrank.actors.messages.offsets import OffsetRange
from freshrank.actors.messages.version import Version


@dataclass(frozen=True, slots=True)
class Probes:
    """A few examples of a gradient, by whose outputs the learner bounds its step."""

    inputs: Inputs
    labels: Floats
    shares: Doubles
    """float64[k]: how many examples each stands for, by their weights."""
    offsets: Floats | None = None
    """float32[k]: what the loss adds to outputs, for the slate of each; None where it has none."""

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True, slots=True)
class Gradient:
    """The loss gradient, summed over the examples of an offset range, at the weights `base`."""

    offset_range: OffsetRange
    base: Version
    dense: Floats
    """float32[p]."""
    keys: Ints
    """int64[u]: distinct ids, ascending."""
    rows: Floats
    """float32[u, w]: the summed gradient of each id's row."""
    dense_squares: Floats
    """float32[p]: as `dense`, but the sum of the squares of each example's gradient."""
    row_squares: Floats
    """float32[u, w]: as `rows`, but the sum of the squares of each example's gradient."""
    row_counts: Floats
    """float32[u]: how many of the examples have each id."""
    labels: Floats
    """float32[n]."""
    scores: Floats
    """float32[n], of classes [n, c]: predictions of `base` that has learned those before."""
    reference_scores: Floats | None
    """As `scores`: predictions of the frozen reference model; None without a reference."""
    newest_event_ms: int
    """The newest event time among the examples (0 when there are none)."""
    moments: Doubles
    """float64[3, d]: count, mean and variance of each dense input over the examples; a column more
    for labels that give outputs their scale, and more rows where numbers are cleaned."""
    corrects: Bools | None = None
    """bool[n]: see `Examples`."""
    served: Floats | None = None
    """As `scores`: see `Examples`; by the averages where these serve, and others are not known."""
    origins: Ints | None = None  # see `Examples`; not in checkpoints
    weights: Floats | None = None  # see `Examples`
    probes: Probes | None = None
    """None in checkpoints from before there were any: a step with such a gradient has no bound."""
    residuals: tuple[float, float] | None = None
    """Sums of the sizes and of the squares of the derivatives by outputs; None: as of `scores`."""
    in_order: bool = False
    """Whether the later examples know what the earlier ones teach (`gradients.in_order`)."""

    def __len__(self) -> int:
        return len(self.labels)

    def damped(self, share: float) -> Gradient:
        """The gradient of which each example counts for `share` of one."""
        probes, part = self.probes, np.float32(share)
        if probes is not None:
            probes = replace(probes, shares=probes.shares * share)
        dense, rows, counts = self.dense * part, self.rows * part, self.row_counts * part
        return replace(self, dense=dense, rows=rows, row_counts=counts, probes=probes)
