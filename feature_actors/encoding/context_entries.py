"""What the context of an input is made of: fields, and the weights of sources of candidates."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple, TypeAlias

from freshrank.actors.errors import ConfigError
from freshrank.feature_actors.encoding.entries.made_numbers import Age, ListPosition
from freshrank.feature_actors.encoding.entries.user_agents import AgentPart
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


class NumberOf(NamedTuple):
    """A field of integers that are numbers, not ids: an age, a count."""

    of: str | TableField

    @property
    def name(self) -> str:
        """The field's."""
        return self.of if isinstance(self.of, str) else self.of.name


DeclaredEntry: TypeAlias = str | TableField | NumberOf | Age | ListPosition | AgentPart
"""A field that candidates carry or take from a table, the same as a number, or what is made."""

ContextEntry: TypeAlias = DeclaredEntry | SourceWeight
"""What a pipeline declares, or the weight of a source."""


def as_number(field: str | TableField) -> NumberOf:
    """The integer field as a numeric input, for the context of a pipeline.

    Without it each integer is an id with weights of its own.

    Parameters
    ----------
    field
        Of the stream's schema by its name, or of a table.

    Raises ConfigError for what is no field.

    >>> as_number("age")
    NumberOf(of='age')
    """
    if not isinstance(field, str | TableField):
        raise ConfigError(
            f"as_number({field!r})", "that is no field", 'Write the name of one: as_number("age").'
        )
    return NumberOf(field)


def fields_of(context: Sequence[ContextEntry]) -> list[str | TableField]:
    """The fields of a context, each once, whatever they are taken for."""
    made = NumberOf | Age | AgentPart
    fields = [given.of if isinstance(given, made) else given for given in context]
    own = [given for given in fields if not isinstance(given, SourceWeight | ListPosition)]
    return list(dict.fromkeys(own))


def table_fields(context: Sequence[ContextEntry]) -> dict[str, TableField]:
    """By name: the fields of a context that candidates take from their rows in tables."""
    own = [given for given in context if not isinstance(given, Age)]
    return {given.name: given for given in fields_of(own) if isinstance(given, TableField)}


def source_weights(context: Sequence[ContextEntry]) -> tuple[str, ...]:
    """The names of the weights of sources in a context."""
    return tuple(given.name for given in context if isinstance(given, SourceWeight))


def declared(context: Sequence[ContextEntry]) -> dict[str, object]:
    """By name of an input: the entry of a context, a number as the field that it is."""
    return {
        given if isinstance(given, str) else given.name: (
            given.of if isinstance(given, NumberOf) else given
        )
        for given in context
    }


def context_fields(stream: RowSource, wanted: Sequence[ContextEntry]) -> list[Field]:
    """The field of each entry; those that candidates carry are fields of `stream`.

    Raises ConfigError for a name that names nothing, or is given twice, and for a number that is
    none.
    """
    names = [given if isinstance(given, str) else given.name for given in wanted]
    found = []
    for index, (name, given) in enumerate(zip(names, wanted, strict=True)):
        place = f"context[{index}]"
        if name in names[:index]:
            raise ConfigError("context", f"{name!r} is given twice", "Drop one of them.")
        if isinstance(given, NumberOf | Age):
            fields = stream.fields if isinstance(given.of, str) else given.of.table.fields
            require = fields.require_own if isinstance(given.of, str) else fields.require
            of = given.of if isinstance(given.of, str) else given.of.name
            number = require(of, place, Kind.INTEGER, Kind.NUMBER)
            found.append(
                given.field if isinstance(given, Age) else replace(number, kind=Kind.NUMBER)
            )
        elif isinstance(given, AgentPart):
            stream.fields.require_own(given.of, place, Kind.TEXT)
            found.append(given.field)
        elif isinstance(given, str):
            found.append(stream.fields.require_own(given, place))
        else:
            found.append(given.field)
    return found
