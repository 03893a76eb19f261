"""The rows of a file of CSV: many at once where each line is one, else one by one."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence
from itertools import chain, islice
from typing import IO, TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pyarrow as pa

_MARK = "\ufeff"
"""What some programs write before the first line of a text in UTF-8."""


class CsvLines:
    """The rows of a file, read in turn in either way."""

    def __init__(self, file: IO[bytes]) -> None:
        self._lines: Iterator[bytes] = file
        self._one_by_one = False
        self.rows = csv.reader(self._texts())
        """Those that are not read yet, one by one."""
        self.header = next(self.rows, [])

    def plain(self, count: int) -> list[bytes] | None:
        """The next `count` lines, or all that are left, if each is a row without quotes.

        They are read then; None: they are not, `rows` has them.
        """
        if self._one_by_one:
            return None
        lines = list(islice(self._lines, count))
        block = b"".join(lines)
        if block.count(b"\r") != block.count(b"\r\n"):
            self._one_by_one = True  # it ends a row, within a line
        longest = max(map(len, lines), default=0)
        if self._one_by_one or b'"' in block or b"\0" in block or longest > csv.field_size_limit():
            self.put_back(lines)
            return None
        return lines

    def put_back(self, lines: Sequence[bytes]) -> None:
        """These lines, which were read last, are not read."""
        self._lines = chain(lines, self._lines)

    def _texts(self) -> Iterator[str]:
        """The lines as texts, each of which ends where a row may end."""
        mark = _MARK
        while (line := next(self._lines, None)) is not None:
            yield from io.StringIO(line.decode().removeprefix(mark), newline="")
            mark = ""


def columns_of_texts(
    arrow: Any, lines: Sequence[bytes], width: int, places: Sequence[int]
) -> list[pa.Array] | None:
    """Return the columns at `places` of `width` as texts; None where a line has more or fewer."""
    block = b"".join(lines)
    names = [str(place) for place in range(width)]
    wanted = [str(place) for place in places]
    try:
        table = arrow.csv.read_csv(
            io.BytesIO(block),
            arrow.csv.ReadOptions(
                column_names=names, use_threads=False, block_size=max(1, len(block))
            ),
            arrow.csv.ParseOptions(quote_char=False),
            arrow.csv.ConvertOptions(
                column_types=dict.fromkeys(names, arrow.string()),
                include_columns=wanted,
                strings_can_be_null=False,
            ),
        )
    except arrow.ArrowInvalid:
        return None
    return [arrow.concat_arrays(table.column(name).chunks) for name in wanted]
