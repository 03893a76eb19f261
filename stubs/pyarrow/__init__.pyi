"""What is used of pyarrow: reading columns of a file."""

from collections.abc import Sequence

class ChunkedArray:
    def to_pylist(self) -> list[object]: ...

class Table:
    num_rows: int
    column_names: Sequence[str]
    def __getitem__(self, name: str) -> ChunkedArray: ...
