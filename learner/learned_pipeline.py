"""What a learner has to know of its pipeline, besides model and optimiser."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class LearnedPipeline:
    """The definitions of a pipeline, as far as a learner needs them."""

    topics: Sequence[str] = ()
    """Its source topics: offsets of others in a checkpoint are left out (none: all are kept), and
    those of format 3 are in their order."""
    label_delay_ms: int = 0
    """How long after the positives come the negatives that were shown beside them, at most; 0 where
    both are known at once."""
    publishes_state: bool = False
    """See `TrainingState`."""
