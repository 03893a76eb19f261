"""Tables of rows in files: read whole, and written whole or not at all."""

from __future__ import annotations

import contextlib
import csv
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from freshrank.actors.errors import ConfigError
from freshrank.deploy.history.columnar.pyarrow_import import import_pyarrow
from freshrank.deploy.history.files import CSV, PARQUET, format_of

if TYPE_CHECKING:
    import pyarrow as pa

# Rows that are written at once.
_SLICE = 16_384
# Rows that lie together in a file of Parquet, column by column: what readers skip or take at once.
_GROUP = 131_072
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
    """Write a table to a file, as `write_batches` does."""
    write_batches(table.schema, table.to_batches(max_chunksize=_SLICE), path)


def write_batches(schema: pa.Schema, batches: Iterable[pa.RecordBatch], path: Path) -> None:
    """Write tables to the file `path`, which is the old or the whole new one at any moment.

    One of them is in memory at a time, of Parquet some. In CSV a list is the JSON of it. Raises
    OSError.
    """
    write = {".parquet": _parquet, ".csv": _csv, ".jsonl": _json_lines}[path.suffix.lower()]
    draft = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        write(schema, batches, draft)
        draft.replace(path)
    finally:
        with contextlib.suppress(OSError):
            draft.unlink(missing_ok=True)


def _parquet(schema: pa.Schema, batches: Iterable[pa.RecordBatch], path: Path) -> None:
    arrow = import_pyarrow(str(path))
    with arrow.parquet.ParquetWriter(path, schema) as writer:
        group, rows = list[Any](), 0
        for batch in batches:
            group.append(batch)
            rows += batch.num_rows
            if rows >= _GROUP:
                writer.write_table(arrow.Table.from_batches(group, schema))
                group, rows = [], 0
        if rows:
            writer.write_table(arrow.Table.from_batches(group, schema))


def _csv(schema: pa.Schema, batches: Iterable[pa.RecordBatch], path: Path) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(schema.names)
        for row in _rows(batches):
            writer.writerow(
                [
                    msgspec.json.encode(one).decode() if isinstance(one, list | dict) else one
                    for one in row.values()
                ]
            )


def _json_lines(schema: pa.Schema, batches: Iterable[pa.RecordBatch], path: Path) -> None:
    encode: Callable[[object], bytes] = msgspec.json.Encoder().encode
    with path.open("wb") as file:
        for row in _rows(batches):
            file.write(encode(row) + b"\n")


def _rows(batches: Iterable[pa.RecordBatch]) -> Iterator[dict[str, object]]:
    for batch in batches:
        yield from batch.to_pylist()
