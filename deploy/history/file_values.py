"""The records of a file of history, as the JSON that a topic would hold, or as columns."""

from __future__ import annotations

import csv
import gzip
from collections.abc import Iterator
from itertools import chain, islice
from pathlib import Path
from typing import IO, TypeAlias, cast

from freshrank.actors.errors import BadRecord, ConfigError
from freshrank.deploy.history.columnar.csv_lines import CsvLines
from freshrank.deploy.history.columnar.file_columns import FileColumns
from freshrank.deploy.history.columnar.pyarrow_import import import_pyarrow
from freshrank.deploy.history.files import CSV, PARQUET, format_of
from freshrank.feature_actors.streams.lines.ready_columns import ReadyColumns
from freshrank.feature_actors.streams.stream import Stream
from freshrank.feature_actors.streams.table import Table

CHUNK = 16_384
"""Records that are read at once: about as many as a shard polls when it catches up."""
_BLOCK_BYTES = 1 << 20

FileChunk: TypeAlias = "list[bytes | BadRecord] | ReadyColumns"
"""Records that are read at once: their JSON, or why there is none; or columns of events."""


def read_values(path: Path, source: Stream | Table, skip: int = 0) -> Iterator[FileChunk]:
    """Read the records of a file as JSON, `CHUNK` at a time, in their order.

    Without the first `skip` chunks. Of Parquet and CSV they are columns where all of a chunk are
    right (`ReadyRows`).

    Columns of Parquet and CSV have the names that the fields have in JSON; others are passed over.
    A column of timestamps becomes integers in the stream's unit where its event time is one. An
    empty cell of CSV is None, where the field may be that; else a text, or a field that is left
    out. A row of CSV that has more or fewer cells than the header is none.

    Raises ConfigError that names the file: it cannot be read, is none of its format, lacks a column
    that each record needs, or is CSV and has one for a field that no cell can hold.
    """
    kind = format_of(path)
    try:
        if kind in PARQUET:
            yield from _parquet(path, source, skip)
        elif kind in CSV:
            yield from _csv(path, source, skip)
        else:
            yield from _lines(path, source.max_bytes, skip)
    except (OSError, EOFError, UnicodeDecodeError, csv.Error) as error:
        reason = error.strerror if isinstance(error, OSError) else None
        raise ConfigError(
            str(path), f"cannot be read: {reason or error}", "Give a whole file."
        ) from error


def place_in(path: Path, source: Stream | Table, number: int) -> str:
    """Where the record `number`, from 0 on, stands in the file that `read_values` read it from."""
    kind = format_of(path)
    if kind in PARQUET:
        return f"row {number + 1} of {path}"
    with _opened(path) as file:
        begins = _row_begins(file) if kind in CSV else _line_begins(file, source.max_bytes)
        return f"line {next(islice(begins, number, None))} of {path}"


def _row_begins(file: IO[bytes]) -> Iterator[int]:
    """The line where each row of CSV begins, from 1 on; the header's is none of them."""
    lines = CsvLines(file)
    begin = lines.rows.line_num + 1
    for row in lines.rows:
        if row:
            yield begin
        begin = lines.rows.line_num + 1


def _line_begins(file: IO[bytes], max_bytes: int) -> Iterator[int]:
    """The line of each record of JSON lines, from 1 on."""
    line = 1
    for pieces, whole in _split(file, max_bytes):
        for one in pieces:
            if one.strip():
                yield line
            line += whole


def _lines(path: Path, max_bytes: int, skip: int) -> Iterator[list[bytes | BadRecord]]:
    with _opened(path) as file:
        lines = chain.from_iterable(pieces for pieces, _ in _split(file, max_bytes))
        values = islice(filter(bytes.strip, lines), skip * CHUNK, None)
        while chunk := list[bytes | BadRecord](islice(values, CHUNK)):
            yield chunk


def _split(file: IO[bytes], max_bytes: int) -> Iterator[tuple[list[bytes], bool]]:
    """The lines of a file, without their ends, some at once, and whether each ends there.

    A line that is too long for an event may come in pieces, the first of which is too long as well.
    """
    rest, longest = b"", max_bytes + 1
    while block := file.read(_BLOCK_BYTES):
        *lines, rest = (rest + block).split(b"\n")
        yield lines, True
        if len(rest) > longest:
            *pieces, rest = (rest[at : at + longest] for at in range(0, len(rest), longest))
            yield pieces, False
    yield [rest], True


def _opened(path: Path) -> IO[bytes]:
    return cast(IO[bytes], gzip.open(path)) if path.suffix.lower() == ".gz" else path.open("rb")


def _csv(path: Path, source: Stream | Table, skip: int) -> Iterator[FileChunk]:
    with _opened(path) as file:
        lines = CsvLines(file)
        columns = FileColumns(path, source, lines.header)
        columns.check_cells()
        next(islice(lines.rows, skip * CHUNK, skip * CHUNK), None)
        while True:
            plain = lines.plain(CHUNK) if columns.ready is not None else None
            if plain is not None:
                ready = columns.of_lines(plain)
                if ready is not None:
                    yield ready
                    continue
                lines.put_back(plain)
            first = next(lines.rows, None)
            if first is None:
                return
            # Rows are lists, and many at once would keep the garbage collector busy.
            yield columns.of_texts(chain([first], islice(lines.rows, CHUNK - 1)))


def _parquet(path: Path, source: Stream | Table, skip: int) -> Iterator[FileChunk]:
    arrow = import_pyarrow(str(path))
    try:
        with arrow.parquet.ParquetFile(path) as file:
            columns = FileColumns(path, source, file.schema_arrow.names)
            batches = file.iter_batches(batch_size=CHUNK, columns=list(columns.fields))
            for batch in islice(batches, skip, None):
                yield columns.of_batch(arrow, batch)
    except arrow.ArrowInvalid as error:
        raise ConfigError(str(path), f"is no Parquet: {error}", "Give a whole file.") from error
