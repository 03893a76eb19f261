"""The ids of a model's inputs: each value salted with the name of its field."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from freshrank.actors.kernels.hashing import hash_text, mix_columns
from freshrank.actors.messages import Ints


def salts_of(widths: Mapping[str, int]) -> Ints:
    """int64[f]: the salt of each id column, where fields have so many columns."""
    salts = np.array([hash_text(name) for name in widths], dtype=np.int64)
    return np.repeat(salts, list(widths.values()))


def plain_ids(name: str, values: Ints) -> Ints:
    """int64[n]: the input ids of the values int64[n] of the field `name`, which is no cross.

    `values` are ids as `Columns.hashed` gives them; 0 stays 0.

    >>> ids = plain_ids("user_id", np.array([7, 0, 7]))
    >>> bool(ids[0] == ids[2]), int(ids[1]), bool(ids[0] == plain_ids("item_id", np.array([7]))[0])
    (True, 0, False)
    """
    salted = np.empty((len(values), 1), dtype=np.int64)
    mix_columns(
        values.reshape(-1, 1), np.empty((len(values), 0), np.int64), salts_of({name: 1}), salted
    )
    ids: Ints = salted[:, 0]
    return ids
