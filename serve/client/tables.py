"""Candidates and events as tables: of pandas or Arrow, neither of which is imported here."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Protocol, TypeAlias, TypeVar, cast, runtime_checkable

from freshrank.actors.errors import ConfigError
from freshrank.serve.api.responses import Json, ScoreAnswer


@runtime_checkable
class PandasTable(Protocol):
    """A `pandas.DataFrame`, as far as it is used."""

    def to_dict(self, orient: Any, /) -> Any:
        """The rows as dictionaries."""
        ...

    @property
    def columns(self) -> Any:
        """The names of the columns."""
        ...

    def assign(self, **columns: Any) -> Any:
        """A copy with further columns."""
        ...


@runtime_checkable
class ArrowTable(Protocol):
    """A `pyarrow.Table`, as far as it is used."""

    def to_pylist(self) -> Any:
        """The rows as dictionaries."""
        ...

    @property
    def column_names(self) -> Any:
        """The names of the columns."""
        ...

    def append_column(self, name: Any, column: Any, /) -> Any:
        """A copy with one more column."""
        ...


Rows: TypeAlias = Mapping[str, Json] | Iterable[Mapping[str, Json]] | PandasTable | ArrowTable
Table = TypeVar("Table", bound=PandasTable | ArrowTable)


def rows_of(rows: Rows) -> list[Mapping[str, Json]]:
    """One mapping for each row; a mapping alone is one row.

    What a table has no value for becomes null in JSON.

    >>> rows_of({"item_id": number} for number in (1, 2))
    [{'item_id': 1}, {'item_id': 2}]
    >>> rows_of({"item_id": 1})
    [{'item_id': 1}]
    """
    if isinstance(rows, PandasTable):
        return cast(list[Mapping[str, Json]], rows.to_dict("records"))
    if isinstance(rows, ArrowTable):
        return cast(list[Mapping[str, Json]], rows.to_pylist())
    return [rows] if isinstance(rows, Mapping) else list(rows)


def check_new(table: PandasTable | ArrowTable, column: str) -> None:
    """Raise ConfigError where `table` has a column of that name: scores would replace it."""
    names = table.columns if isinstance(table, PandasTable) else table.column_names
    if column in list(names):
        raise ConfigError(
            f"column={column!r}",
            "the table has such a column, which the scores would replace",
            f'Take another name, as in column="{column}_2", or leave that column out.',
        )


def with_scores(table: Table, answer: ScoreAnswer, column: str) -> Table:
    """`table`, with the scores of its rows as a further column; null where one was skipped."""
    scores: list[float | None] = answer.scores
    if isinstance(table, PandasTable):
        return cast(Table, table.assign(**{column: scores}))
    return cast(Table, table.append_column(column, [scores]))


def plain(value: object) -> object:
    """What JSON has for a value of a table: a NumPy scalar as Python's own, pandas' NA as null.

    Raises NotImplementedError for what JSON has nothing for, as msgspec wants it.
    """
    if type(value).__name__ in {"NAType", "NaTType"}:
        return None
    item = getattr(value, "item", None)
    if callable(item):
        return cast(object, item())
    raise NotImplementedError(f"{type(value).__name__} is no value of JSON")
