"""A column of Arrow as a column of events."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from freshrank.actors.kernels.hashing import SEPARATOR, hash_joined, hash_texts
from freshrank.actors.messages import Bools, Doubles, Ints

if TYPE_CHECKING:
    import pyarrow as pa


@dataclass(frozen=True, slots=True)
class ArrowColumn:
    """A `ReadyColumn` of texts, int64, float64 or booleans."""

    arrow: Any
    """The module pyarrow, which may be missing where it is not needed."""
    array: pa.Array

    def values(self) -> list[Any]:
        """They, as records hold them; None where there is none."""
        found: list[Any] = self.array.to_pylist()
        return found

    def numbers(self) -> Doubles:
        """float64[n]: of integers, floats and booleans; NaN where there is none."""
        found = self._numeric().to_numpy(zero_copy_only=False).astype(np.float64)
        return found

    def integers(self) -> Ints:
        """int64[n]: of integers and booleans; 0 where there is none."""
        array = self._numeric()
        filled = array.fill_null(0) if array.null_count else array
        return filled.to_numpy().astype(np.int64)

    def text_ids(self) -> Ints:
        """int64[n]: of texts, their ids; where there is none that of an empty text."""
        array = self.array.fill_null("") if self.array.null_count else self.array
        count, ids = len(array), np.empty(len(array), dtype=np.int64)
        if not count:
            return ids
        together = self.arrow.ListArray.from_arrays(self.arrow.array([0, count], "int32"), array)
        (joined,) = self.arrow.compute.binary_join(together, SEPARATOR)
        if not hash_joined(np.frombuffer(joined.as_buffer(), dtype=np.uint8), ids):
            return hash_texts(array.to_pylist())  # a text holds the separator itself
        return ids

    def present(self) -> Bools:
        """bool[n]: where there is one."""
        return self.array.is_valid().to_numpy(zero_copy_only=False).astype(np.bool_)

    def _numeric(self) -> pa.Array:
        """Booleans, of which Arrow keeps bits, are 0 and 1."""
        boolean = self.arrow.types.is_boolean(self.array.type)
        return self.array.cast(self.arrow.int8()) if boolean else self.array
