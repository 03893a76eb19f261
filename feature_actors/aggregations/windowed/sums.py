"""Count, Sum and Mean over windows, and what any aggregate over windows shares."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

from freshrank.actors.kernels.compile import inlined
from freshrank.feature_actors.aggregations.base import check_where
from freshrank.feature_actors.aggregations.kernel_types import Operation
from freshrank.feature_actors.aggregations.row_layout import Layout
from freshrank.feature_actors.aggregations.windowed.rings import (
    Tiles,
    count_tiles,
    mean_tiles,
    number_tiles,
    window_operation,
)
from freshrank.feature_actors.aggregations.windowed.windows import (
    OverWindows,
    Tumbling,
    Window,
    canonical_windows,
    parse_windows,
)
from freshrank.feature_actors.streams.expressions.conditions import Expression
from freshrank.feature_actors.streams.expressions.numbers import Numeric, number_of
from freshrank.feature_actors.streams.fields import Fields


class Windowed(OverWindows):
    """A feature over windows; gives a column for each window.

    A sliding window read as of ``at`` covers ``[floor(at - window, hop), at]``: exact at the head,
    at most a hop too long at the tail. `hop` is a twelfth of each window unless given. A late event
    goes to the tile it belongs to, as long as a window can still reach it.

    With a `delay` the window ends that long before the read, and at most a hop earlier: it covers
    ``[floor(at - delay - window, hop), floor(at - delay, hop))``. So it takes what is known that
    long after its event, as whether a payment was a fraud.

    ``"lifetime"`` takes all events of the entity, and `Tumbling` days, or stretches of another
    length, each for itself.
    """

    delay: str | None

    verb: ClassVar[str]
    """Its name in the canonical spelling, which is part of fingerprints."""
    tiles: ClassVar[Tiles]
    operation: ClassVar[Operation]

    def check(self, fields: Fields, place: str) -> None:
        """Raise ConfigError for a wrong condition or window."""
        check_where(self.where, fields, place)
        parse_windows(self.windows, self.hop, place, self.delay)

    def lay_out(self, name: str, layout: Layout) -> None:
        """A ring a window."""
        for window in self._windows():
            column = f"{name}_{window.text}"
            line = replace(
                window.line(self.operation.opcode, layout.number_column(column)),
                mask=layout.mask(self._counted()),
                source=self._source(layout),
                parameters=self._parameters(),
            )
            identity = self.tiles.identity(window.tiles)
            layout.add(column, line, identity, window.keeps_ms)

    def canonical(self) -> str:
        """Condition, windows and hops, and the delay if there is any."""
        return f"{self.verb}({self._inputs()}; {canonical_windows(self._windows())})"

    def _inputs(self) -> str:
        """The part of `canonical` about the events that count."""
        return str(self.where)

    def _counted(self) -> Expression | None:
        """The condition on the events that change the feature."""
        return self.where

    def _source(self, layout: Layout) -> int:
        """The line of `EventArrays.numbers` that the operation reads, if it reads any."""
        return 0

    def _parameters(self) -> tuple[float, float]:
        """The constants of the operation, if it has any."""
        return 0.0, 0.0

    def _windows(self) -> tuple[Window, ...]:
        return parse_windows(self.windows, self.hop, type(self).__name__, self.delay)


@dataclass(frozen=True)
class Count(Windowed):
    """The number of events in each window; at most 2**31 - 1 in a hop of a sliding window.

    Gives a column for each window: ``views = Count(windows=["5m"])`` is ``views_5m``; 0 without
    events.
    """

    where: Expression | None = None
    windows: Sequence[str | Tumbling] = ()
    hop: str | None = None
    delay: str | None = None

    verb = "count"
    tiles = count_tiles(skipped=0)
    operation = window_operation(0, tiles, of_field=False)


@dataclass(frozen=True)
class OverField(Windowed):
    """Windows over the values of a numeric field, or of a calculation; None is passed over."""

    of: Numeric
    where: Expression | None = None
    windows: Sequence[str | Tumbling] = ()
    hop: str | None = None
    delay: str | None = None

    def check(self, fields: Fields, place: str) -> None:
        """Raise ConfigError for a wrong field, condition or window."""
        number_of(self.of).check(fields, place)
        super().check(fields, place)

    def _inputs(self) -> str:
        return f"{number_of(self.of)}; {self.where}"

    def _source(self, layout: Layout) -> int:
        return layout.number(number_of(self.of))


@inlined
def _add(total: float, number: float) -> float:
    return total + number


@dataclass(frozen=True)
class Sum(OverField):
    """The sum of a numeric field over each window, in float64; None is passed over."""

    verb = "sum"
    tiles = number_tiles(0.0, _add)
    operation = window_operation(1, tiles, of_field=True)


@dataclass(frozen=True)
class Mean(OverField):
    """The mean of a numeric field over each window: tiles of a sum and of a count.

    That of a condition is the share of events for which it holds: a rate.

    None is passed over; NaN where the window holds no value.
    """

    verb = "mean"
    tiles = mean_tiles(Sum.tiles)
    operation = window_operation(2, tiles, of_field=True)


OPERATIONS = (Count.operation, Sum.operation, Mean.operation)
