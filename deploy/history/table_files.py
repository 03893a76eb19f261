"""Tables of rows in files: read whole, and written whole or not at all."""

from __future__ import annotations

import contextlib
import csv
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from freshrank.actors.errors import ConfigError
from freshrank.deploy.history.file_values import import_pyarrow
from freshrank.deploy.history.files import CSV, PARQUET, format_of

if TYPE_CHECKING:
    import pyarrow as pa

# Rows that are written at once.
_SLICE = 16_384
_WRITTEN = (".parquet", ".csv", ".jsonl")


def read_table(path: Path, texts: Sequence[str]) -> pa.Table:
    """Read a file of rows; of CSV, the columns `texts` stay texts. Raises ConfigError."""
    arrow = import_pyarrow(str(path))
    kind = format_of(path)
    table: pa.Table
    try:
        if kind in PARQUET:
            table = arrow.parquet.read_table(path)
        elif kind in CSV:
            types = dict.fromkeys(texts, arrow.string())
            options = arrow.csv.ConvertOptions(column_types=types)
            table = arrow.csv.read_csv(path, convert_options=options)
        else:
            table = arrow.json.read_json(path)
    except (OSError, arrow.ArrowInvalid) as error:
        raise ConfigError(
            str(path), f"cannot be read: {error}", "Give a file of rows: Parquet, CSV, JSON lines."
        ) from error
    return table


def check_target(path: Path) -> None:
    """Raise ConfigError, before any work is done, where a table cannot be written to `path`."""
    if not path.name.lower().endswith(_WRITTEN):
        raise ConfigError(
            str(path), "its format is not known here", "Write .parquet, .csv or .jsonl."
        )
    if path.is_dir() or not os.access(path.parent, os.W_OK):
        raise ConfigError(
            str(path), "no file can be written there", "Give a file in a folder that you may write."
        )


def write_table(table: pa.Table, path: Path) -> None:
    """Write a table to the file `path`, which is the old or the whole new one at any moment.

    In CSV a list is the JSON of it. Raises OSError.
    """
    write = {".parquet": _parquet, ".csv": _csv, ".jsonl": _json_lines}[path.suffix.lower()]
    draft = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        write(table, draft)
        draft.replace(path)
    finally:
        with contextlib.suppress(OSError):
            draft.unlink(missing_ok=True)


def _parquet(table: pa.Table, path: Path) -> None:
    import_pyarrow(str(path)).parquet.write_table(table, path)


def _csv(table: pa.Table, path: Path) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(table.column_names)
        for row in _rows(table):
            writer.writerow(
                [
                    msgspec.json.encode(one).decode() if isinstance(one, list | dict) else one
                    for one in row.values()
                ]
            )


def _json_lines(table: pa.Table, path: Path) -> None:
    encode: Callable[[object], bytes] = msgspec.json.Encoder().encode
    with path.open("wb") as file:
        for row in _rows(table):
            file.write(encode(row) + b"\n")


def _rows(table: pa.Table) -> Iterator[dict[str, object]]:
    for batch in table.to_batches(max_chunksize=_SLICE):
        yield from batch.to_pylist()
