"""Leaves out most of the negatives, always the same ones."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from freshrank.actors.kernels.hashing import mix_columns
from freshrank.actors.messages import Bools, Ints
from freshrank.feature_actors.labels.examples import LabelledRows

_SALT = np.array([0x5A3D], dtype=np.int64)


def kept(order: Ints, share: float) -> Bools:
    """bool[n]: whether a row at a place in the log is kept if it is negative.

    It follows from the place alone, so a partition that reads its records again decides alike.

    >>> int(kept(np.arange(1, 10_001), 0.25).sum())
    2461
    """
    none, mixed = np.zeros((len(order), 0), np.int64), np.empty((len(order), 1), np.int64)
    mix_columns(order[:, None], none, _SALT, mixed)
    return (mixed[:, 0].view(np.uint64) >> np.uint64(11)) < np.uint64(share * 2**53)


def without_negatives(rows: LabelledRows, share: float) -> LabelledRows:
    """All positives, and a `share` of the rows with the label 0.

    A positive whose negative was left out when it was shown corrects nothing.
    """
    if share >= 1.0:
        return rows
    learned = kept(rows.order, share)
    found = replace(rows, corrects=rows.corrects & learned)
    return found.take(np.flatnonzero(learned | (rows.labels > 0.5)))
