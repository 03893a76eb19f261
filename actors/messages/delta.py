"""What a version of the weights changes, from the learner to those that follow it."""

from __future__ import annotations

from dataclasses import dataclass, field

from freshrank.actors.messages.arrays import Doubles, Floats, Ints
from freshrank.actors.messages.offsets import SourceOffsets
from freshrank.actors.messages.version import Version


@dataclass(frozen=True, slots=True)
class Delta:
    """The change from the weights `base` (None: it replaces all of them) to those of `version`."""

    version: Version
    base: Version | None
    dense: Floats
    """float32[p]: all dense weights."""
    moments: Doubles
    """See `Gradient`; by these inputs and labels are standardised, and numbers cleaned."""
    keys: Ints
    """int64[u]: ids whose rows changed, ascending."""
    rows: Floats
    """float32[u, w]."""
    evicted: Ints
    """int64[e]: ids whose rows were dropped; they begin again from their initial values."""
    applied: dict[int, SourceOffsets] = field(default_factory=dict)
    """By partition: `version` contains its examples below these offsets."""
    created_ms: int = 0
    """When the learner published the version."""
    newest_event_ms: int = 0
    """The newest event time among all examples that `version` contains."""
    checksum: str | None = None
    """The checksum of all weights of `version`: a copy that applies the delta must get the same."""
    served_checksum: str | None = None
    """The same of the weights that serve, where these are averages."""
    row_state: Floats | None = None
    """float32[u, s]: the optimiser's, for who differentiates; None: nobody does with this delta."""
    dense_state: Floats | None = None
    """float32[q]: the same of the dense weights."""
    learned: int = 0
    """How many examples `version` has learned."""

    @property
    def nbytes(self) -> int:
        """Of its arrays."""
        found = (self.dense, self.keys, self.rows, self.evicted, self.row_state, self.dense_state)
        return sum(array.nbytes for array in found if array is not None)
