"""What the context of an input is made of: fields, and the weights of sources of candidates."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, TypeAlias

from freshrank.actors.errors import ConfigError
from freshrank.feature_actors.streams.fields import Field, Kind
from freshrank.feature_actors.streams.table import TableField
from freshrank.feature_actors.views.row_plan import RowSource


class SourceWeight(NamedTuple):
    """How much a source of candidates speaks for one: a numeric input, which replicas find."""

    name: str
    """The source's."""

    @property
    def field(self) -> Field:
        """Its name and kind."""
        return Field(self.name, Kind.NUMBER, optional=True)


ContextEntry: TypeAlias = str | TableField | SourceWeight
"""A field that candidates carry, one that they take from a table, or a weight."""


def context_fields(stream: RowSource, wanted: Sequence[ContextEntry]) -> list[Field]:
    """The field of each entry; those that candidates carry are fields of `stream`.

    Raises ConfigError for a name that names nothing, or is given twice.
    """
    names = [given if isinstance(given, str) else given.name for given in wanted]
    found = []
    for index, (name, given) in enumerate(zip(names, wanted, strict=True)):
        if name in names[:index]:
            raise ConfigError("context", f"{name!r} is given twice", "Drop one of them.")
        if isinstance(given, str):
            found.append(stream.fields.require_own(given, f"context[{index}]"))
        else:
            found.append(given.field)
    return found
