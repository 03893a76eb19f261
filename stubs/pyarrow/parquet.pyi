from collections.abc import Sequence
from os import PathLike

from pyarrow import Table

def read_table(
    source: str | PathLike[str],
    *,
    columns: Sequence[str] | None = None,
    filters: Sequence[tuple[str, str, object]] | None = None,
) -> Table: ...
def write_table(table: Table, where: str | PathLike[str]) -> None: ...
