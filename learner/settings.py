"""The learner's settings. Light to import: the command line reads them without NumPy."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from freshrank.actors.settings import Section
from freshrank.learner.guard.settings import GuardSettings


class LearnerSettings(Section):
    """When the learner steps and writes checkpoints, and what bounds it."""

    batch_examples: int = Field(default=256, ge=1)
    """The learner takes a step when this many examples wait, or when `max_wait_ms` is over."""
    max_wait_ms: int = Field(default=50, ge=1)
    """From the first example that waits to the step: keeps weights well below half a second old."""
    max_staleness_steps: int = Field(default=64, ge=0)
    """A gradient of older weights is refused and computed again by the shard."""
    checkpoint_interval_s: float = Field(default=10.0, gt=0)
    """Bounds the examples that shards keep for a restart of the learner."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """``auto``: the learner computes the gradients with torch where there is a GPU; elsewhere the
    shards do, with compiled kernels."""
    max_rows: int = Field(default=2_000_000, ge=16)
    """Rows of the keyed table; beyond it those updated least recently are evicted, a sixteenth at
    once. About as many as there are entities by default. A row of a DeepFM with 8 dimensions and
    FTRL takes 108 bytes, and 24 for id, age and index; with all other defaults that is 8 GB."""
    guard: GuardSettings = GuardSettings()
