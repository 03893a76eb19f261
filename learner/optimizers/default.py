"""The optimiser of a pipeline that names none."""

from __future__ import annotations

from freshrank.learner.optimizers.auto_adagrad import AutoAdagrad

DEFAULT_OPTIMIZER = AutoAdagrad()
"""Chosen by what it predicts of ten streams before it learns it (`freshrank bench online`)."""
