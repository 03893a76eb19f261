"""The base class of aggregates, and checks that several share."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

from freshrank.actors.errors import ConfigError
from freshrank.feature_actors.aggregations.row_layout import Layout
from freshrank.feature_actors.streams.expressions.conditions import Expression
from freshrank.feature_actors.streams.fields import Fields

# More entries than this make a row of many kilobytes: a typing error rather than a wish.
_MOST_ENTRIES = 256


class Aggregate(ABC):
    """One feature of a view; `where` limits it to the events that meet a condition.

    A definition: it checks itself against a stream and asks a layout for its place. Its state is
    words of an entity's row, and the operation of its program lines does the work.
    """

    where: Expression | None

    @abstractmethod
    def check(self, fields: Fields, place: str) -> None:
        """Raise ConfigError, naming `place`, when the definition cannot work on the stream."""

    @abstractmethod
    def lay_out(self, name: str, layout: Layout) -> None:
        """Claim words, inputs and outputs, and add the lines that compute the feature."""

    @abstractmethod
    def canonical(self) -> str:
        """The definition in one spelling: equal texts mean equal rows."""

    def parts(self) -> Sequence[Aggregate]:
        """Aggregates of which each gives a part of what it gives, with words of its own.

        Laid out one after the other, under its name, they are laid out as it is. A part that
        another definition has, too, keeps its state when the definition changes.
        """
        return [self]

    def each(self, fields: Fields, place: str) -> str:
        """The list for each of whose elements it is updated; "" where it is once for an event.

        Raises ConfigError where it reads fields of two lists.
        """
        return fields.list_of(self.fields_read(), place)

    def fields_read(self) -> frozenset[str]:
        """The fields that it is computed from."""
        layout = Layout()
        self.lay_out("feature", layout)
        return layout.fields_read()


def check_where(where: object, fields: Fields, place: str) -> None:
    """Raise ConfigError unless `where` is None or a condition on the fields."""
    if where is not None:
        check_condition(where, fields, f"{place}.where")


def check_condition(condition: object, fields: Fields, place: str) -> None:
    """Raise ConfigError unless it is a condition on the fields."""
    if not isinstance(condition, Expression):
        raise ConfigError(
            place, f"{condition!r} is not a condition", 'Write e.g. col.type == "view".'
        )
    condition.check(fields, place)


def check_entries(number: object, place: str) -> None:
    """Raise ConfigError unless a row can hold `number` entries."""
    if not isinstance(number, int):
        raise ConfigError(
            place,
            f"{number!r} is no whole number",
            f"Write one of 1 to {_MOST_ENTRIES}, as in k=10.",
        )
    if not 1 <= number <= _MOST_ENTRIES:
        raise ConfigError(
            place, f"{number!r} entries cannot be kept", f"Take 1 to {_MOST_ENTRIES}."
        )
