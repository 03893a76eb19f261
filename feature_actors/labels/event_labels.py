"""The labels that events carry themselves, and their weights."""

from __future__ import annotations

import numpy as np

from freshrank.actors.messages import Floats
from freshrank.feature_actors.labels.definitions import Labelled
from freshrank.feature_actors.streams.columns import Columns


def labels_of(label: Labelled, columns: Columns) -> Floats:
    """float32[n]: the label of each event, NaN where it has none.

    0 or 1; of `Labelled.classes` the place of the event's; else the target, which is infinite
    beyond float32.
    """
    if label.positive is not None:
        return label.positive.evaluate(columns).astype(np.float32)
    assert label.target is not None  # checked when it was made
    if label.classes:
        places = {value: place for place, value in enumerate(label.classes)}
        found = [places.get(value, np.nan) for value in columns.values(label.target)]
        return np.array(found, np.float32)
    with np.errstate(over="ignore"):
        return columns.number(label.target).astype(np.float32)


def weights_of(label: Labelled, columns: Columns) -> Floats:
    """float32[n]: how many times each event counts, NaN where what it carries is no weight."""
    if label.weight is None:
        return np.ones(len(columns), np.float32)
    with np.errstate(over="ignore"):
        found = columns.number(label.weight).astype(np.float32)
    return np.where(np.isfinite(found) & (found >= 0.0), found, np.float32(np.nan))
