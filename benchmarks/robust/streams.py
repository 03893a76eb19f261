"""Streams whose truth is known: a world that changes, and examples that are poisoned."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from freshrank.actors.messages import Bools, Floats, IdField, InputLayout, Inputs, Ints

LAYOUT = InputLayout(("a", "b", "c", "d"), (IdField("user"), IdField("item")))
RANGE = 64
"""Rows of an offset range where `PARTITIONS` take turns."""
PARTITIONS = 4
_IDS = 200
_TASTES = np.random.default_rng(7)
_OF_DENSE = np.array([2.0, -1.5, 1.0, 0.5])
_OF_IDS = _TASTES.normal(0.0, 0.6, (len(LAYOUT.fields), _IDS + 1))


class StreamRows(NamedTuple):
    """Examples in the order of the stream."""

    inputs: Inputs
    labels: Floats
    truth: Floats
    """float32[n]: the labels without any poison."""
    poisoned: Bools

    def __add__(self, more: object) -> StreamRows:
        """The rows of both, one after the other."""
        assert isinstance(more, StreamRows)
        inputs = Inputs(
            np.concatenate([self.inputs.dense, more.inputs.dense]),
            np.concatenate([self.inputs.ids, more.inputs.ids]),
        )
        parts = zip(self[1:], more[1:], strict=True)
        return StreamRows(inputs, *(np.concatenate(pair) for pair in parts))

    def partitions(self) -> Ints:
        """int64[n]: the partition of each row; ranges take turns."""
        return np.arange(len(self.labels)) // RANGE % PARTITIONS


def honest(
    rows: int, seed: int, *, rate: float = 0.3, flip: bool = False, moved: float = 0.0
) -> StreamRows:
    """Rows of a world with about `rate` positives, its tastes reversed, its numbers moved."""
    random = np.random.default_rng(seed)
    dense = random.normal(moved, 1.0, (rows, len(LAYOUT.dense)))
    ids = random.integers(1, _IDS + 1, (rows, len(LAYOUT.fields)))
    taste = dense @ _OF_DENSE + _OF_IDS[0, ids[:, 0]] + _OF_IDS[1, ids[:, 1]]
    logits = np.log(rate / (1.0 - rate)) + (-taste if flip else taste)
    labels = (random.random(rows) < 1.0 / (1.0 + np.exp(-logits))).astype(np.float32)
    hashed = ids * 7919 + np.array([0, 100_003])
    inputs = Inputs(dense.astype(np.float32), hashed.astype(np.int64))
    return StreamRows(inputs, labels, labels, np.zeros(rows, np.bool_))


def poisoned(rows: StreamRows, where: Bools, labels: Floats) -> StreamRows:
    """The same rows with other labels at some places."""
    return rows._replace(labels=np.where(where, labels, rows.labels), poisoned=where)


def flipped(rows: StreamRows, where: Bools | None = None) -> StreamRows:
    """Labels that say the contrary, everywhere or at some places."""
    everywhere = np.ones(len(rows.labels), np.bool_)
    return poisoned(rows, everywhere if where is None else where, 1.0 - rows.labels)


def label_noise(rows: StreamRows) -> StreamRows:
    """Every label is a coin."""
    coins = np.random.default_rng(1).integers(0, 2, len(rows.labels)).astype(np.float32)
    return poisoned(rows, np.ones(len(coins), np.bool_), coins)


def with_dense(rows: StreamRows, value: float, factor: float = 1.0) -> StreamRows:
    """Numbers that are multiplied, or are all `value`."""
    dense = rows.inputs.dense * np.float32(factor) + np.float32(value)
    inputs = Inputs(dense, rows.inputs.ids)
    return rows._replace(inputs=inputs, poisoned=np.ones(len(dense), np.bool_))


def with_inputs_of_others(rows: StreamRows, where: Bools) -> StreamRows:
    """Rows that have the inputs of another row at some places, as of a shard with a wrong state."""
    places = np.flatnonzero(where)
    order = np.arange(len(rows.labels))
    order[places] = np.random.default_rng(1).permutation(places)
    inputs = Inputs(rows.inputs.dense[order], rows.inputs.ids[order])
    return rows._replace(inputs=inputs, poisoned=where)
