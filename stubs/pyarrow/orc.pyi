from pathlib import Path

from pyarrow import Table

def read_table(source: Path) -> Table: ...
