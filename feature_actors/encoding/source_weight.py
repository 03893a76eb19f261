"""What the context of an input is made of: fields, and the weights of sources of candidates."""

from __future__ import annotations

from typing import NamedTuple, TypeAlias

from freshrank.feature_actors.streams.fields import Field, Kind
from freshrank.feature_actors.streams.table import TableField


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
