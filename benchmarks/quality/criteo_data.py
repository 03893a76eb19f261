"""The Criteo sample as inputs of the learner: 39 categorical ids and a label for each row.

The 13 counts become ids as well: an id for each power of two (``floor(log2(count + 1))``), one for
negative values, and one for a missing count. Every id is hashed together with its column.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.orc

from freshrank.actors.errors import ConfigError
from freshrank.actors.kernels.compile import kernel
from freshrank.actors.kernels.hashing import mix
from freshrank.actors.messages import Doubles, Floats, IdField, InputLayout, Ints

COUNTS = tuple(f"i{number}" for number in range(1, 14))
CATEGORIES = tuple(f"c{number}" for number in range(1, 27))
LAYOUT = InputLayout((), tuple(IdField(name) for name in COUNTS + CATEGORIES))
"""The columns of the model's inputs; none of them is dense."""


@dataclass(frozen=True, slots=True)
class Criteo:
    """The rows, in the order of the files."""

    ids: Ints
    """int64[n, 39] (0 = absent)."""
    labels: Floats
    """float32[n]: 1 = clicked."""


def load(folder: Path) -> Criteo:
    """Read the files ``part-*.orc`` in `folder`. Raises ConfigError when there are none."""
    paths = sorted(folder.glob("part-*.orc"))
    if not paths:
        raise ConfigError(str(folder), "no part-*.orc in it", "Give the folder of the sample.")
    table = pa.concat_tables([pyarrow.orc.read_table(path) for path in paths])
    counts = [_count_ids(_column(table, name, np.nan)) for name in COUNTS]
    categories = [_column(table, name, 0.0).astype(np.int64) for name in CATEGORIES]
    ids = np.stack(counts + categories, axis=1)
    _salt(ids)
    return Criteo(ids, _column(table, "label", 0.0).astype(np.float32))


def _column(table: pa.Table, name: str, missing: float) -> Doubles:
    """Return the numbers of a column of lists that hold at most one each (below 2^53)."""
    lists = table[name].combine_chunks()
    offsets = lists.offsets.to_numpy().astype(np.int64)
    values = np.full(len(lists), missing)
    there = np.diff(offsets) > 0
    values[there] = lists.values.to_numpy()[offsets[:-1][there]]
    return values


def _count_ids(counts: Doubles) -> Ints:
    """Return an id for each count: 1 = missing, 2 = negative, 3 + its power of two."""
    known = np.nan_to_num(counts, nan=0.0)
    buckets = np.where(known < 0.0, 2.0, 3.0 + np.floor(np.log2(np.maximum(known, 0.0) + 1.0)))
    return np.where(np.isnan(counts), 1.0, buckets).astype(np.int64)


@kernel
def _salt(ids: Ints) -> None:
    for i in range(ids.shape[0]):
        for j in range(ids.shape[1]):
            if ids[i, j] != 0:
                ids[i, j] = mix(np.int64(j + 1), ids[i, j])
