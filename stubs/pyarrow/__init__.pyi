"""What is used of pyarrow: reading columns of a file."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

class Array:
    def __len__(self) -> int: ...
    def to_numpy(self, zero_copy_only: bool = True) -> NDArray[np.float64]: ...

class ListArray(Array):
    offsets: Array
    values: Array

class ChunkedArray:
    def to_pylist(self) -> list[object]: ...
    def combine_chunks(self) -> ListArray: ...

class Table:
    num_rows: int
    column_names: Sequence[str]
    def __getitem__(self, name: str) -> ChunkedArray: ...

def concat_tables(tables: Sequence[Table]) -> Table: ...
