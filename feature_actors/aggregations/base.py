"""The aggregates that a feature view is made of, and how each becomes lines of a program.

Each class is a definition: it checks itself against a stream and lays itself out. The state is
words of an entity's row and the work is done by `freshrank.feature_actors.aggregations.dispatch`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar

from freshrank.actors.errors import ConfigError
from freshrank.feature_actors.aggregations import dispatch as kernels
from freshrank.feature_actors.aggregations.row_layout import Layout
from freshrank.feature_actors.aggregations.windows import Window, parse_windows
from freshrank.feature_actors.streams.durations import duration_ms
from freshrank.feature_actors.streams.expressions import Expression
from freshrank.feature_actors.streams.fields import Fields, Kind

# More entries than this make a row of many kilobytes: a typing error rather than a wish.
_MOST_ENTRIES = 256


class Aggregate(ABC):
    """One feature of a view; `where` limits it to the events that meet a condition."""

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


class _Windowed(Aggregate):
    """What Count, Sum and Mean share: rings of tiles.

    A window read as of ``at`` covers ``[floor(at - window, hop), at]``: exact at the head, up to
    one hop too long at the tail. `hop` is a twelfth of each window unless given. An event that
    comes late goes to the tile it belongs to, as long as a window can still reach it.
    """

    windows: Sequence[str]
    hop: str | None

    def _check_where(self, fields: Fields, place: str) -> None:
        _check_where(self.where, fields, place)
        parse_windows(self.windows, self.hop, place)

    def _windows(self) -> tuple[Window, ...]:
        return parse_windows(self.windows, self.hop, type(self).__name__)

    def _spans(self) -> str:
        return ", ".join(f"{one.length_ms}/{one.hop_ms}" for one in self._windows())


@dataclass(frozen=True)
class Count(_Windowed):
    """How many events lie in each window. A tile holds up to 2**31 - 1.

    Gives one column a window: ``views = Count(windows=["5m"])`` is ``views_5m``; 0 for nothing.
    """

    where: Expression | None = None
    windows: Sequence[str] = ()
    hop: str | None = None

    def check(self, fields: Fields, place: str) -> None:
        """Raise ConfigError for a wrong condition or window."""
        self._check_where(fields, place)

    def lay_out(self, name: str, layout: Layout) -> None:
        """Two tiles a word."""
        for window in self._windows():
            layout.windowed(name, kernels.COUNT, self.where, None, window)

    def canonical(self) -> str:
        """Condition, windows and hops."""
        return f"count({self.where}; {self._spans()})"


@dataclass(frozen=True)
class _OverField(_Windowed):
    """What Sum and Mean share: windows over the values of a field."""

    of: str
    where: Expression | None = None
    windows: Sequence[str] = ()
    hop: str | None = None

    _kind: ClassVar[int]
    """Of the kernel's line."""
    _verb: ClassVar[str]
    """In the canonical spelling."""

    def check(self, fields: Fields, place: str) -> None:
        """Raise ConfigError for a wrong field, condition or window."""
        fields.require(self.of, place, Kind.INTEGER, Kind.NUMBER)
        self._check_where(fields, place)

    def lay_out(self, name: str, layout: Layout) -> None:
        """A word a tile for the sum; for a mean half a word more."""
        for window in self._windows():
            layout.windowed(name, self._kind, self.where, self.of, window)

    def canonical(self) -> str:
        """Field, condition, windows and hops."""
        return f"{self._verb}({self.of}; {self.where}; {self._spans()})"


@dataclass(frozen=True)
class Sum(_OverField):
    """The sum of a numeric field over each window, in float64; None is passed over."""

    _kind = kernels.SUM
    _verb = "sum"


@dataclass(frozen=True)
class Mean(_OverField):
    """The mean of a numeric field over each window: tiles of a sum and of a count.

    None is passed over; NaN where the window holds no value.
    """

    _kind = kernels.MEAN
    _verb = "mean"


@dataclass(frozen=True)
class TimeSince(Aggregate):
    """Seconds since the newest event (that meets `where`); NaN when there never was one."""

    where: Expression | None = None

    def check(self, fields: Fields, place: str) -> None:
        """Raise ConfigError for a wrong condition."""
        _check_where(self.where, fields, place)

    def lay_out(self, name: str, layout: Layout) -> None:
        """One word: the time of that event."""
        layout.time_since(name, self.where)

    def canonical(self) -> str:
        """The condition."""
        return f"time_since({self.where})"


@dataclass(frozen=True)
class LastK(Aggregate):
    """The last `k` values of a text or integer field, newest event time first, as a bag of ids.

    An event that comes late is put where its time belongs. None is passed over.
    """

    of: str
    k: int
    where: Expression | None = None

    def check(self, fields: Fields, place: str) -> None:
        """Raise ConfigError for a wrong field, condition or `k`."""
        fields.require(self.of, place, Kind.TEXT, Kind.INTEGER)
        _check_where(self.where, fields, place)
        _check_entries(self.k, f"{place}.k")

    def lay_out(self, name: str, layout: Layout) -> None:
        """Two words an entry: id and event time."""
        layout.last_k(name, self.where, self.of, self.k)

    def canonical(self) -> str:
        """Field, number and condition."""
        return f"last_k({self.of}; {self.k}; {self.where})"


@dataclass(frozen=True)
class DecayedCount(Aggregate):
    """The `top` values of a field by exponentially decayed count, as a bag of weighted ids.

    An event adds 1, which halves every `half_life`. The counters are those of Space-Saving
    (Metwally, Agrawal, El Abbadi: "Efficient computation of frequent and top-k elements in data
    streams", ICDT 2005) with decayed weights (Cormode, Korn, Tirthapura: "Exponentially decayed
    aggregates on data streams", ICDE 2008): a value without a counter takes over the smallest
    one. So with ``N`` the decayed number of the entity's events, a counter is never too low, and
    too high by at most ``N / top``; a value whose true count exceeds ``N / top`` is among them;
    and with at most `top` distinct values all are exact. Decay is applied when read; an event
    that is more than 32 half-lives older than the newest adds less than 2.4e-10 and is refused.
    """

    by: str
    half_life: str
    top: int = field(default=8)
    where: Expression | None = None

    def check(self, fields: Fields, place: str) -> None:
        """Raise ConfigError for a wrong field, condition, half-life or `top`."""
        fields.require(self.by, place, Kind.TEXT, Kind.INTEGER)
        _check_where(self.where, fields, place)
        duration_ms(self.half_life, f"{place}.half_life")
        _check_entries(self.top, f"{place}.top")

    def lay_out(self, name: str, layout: Layout) -> None:
        """A reference time, and two words an entry: id and value as of the reference time."""
        layout.decayed(name, self.where, self.by, (self.top, duration_ms(self.half_life, name)))

    def canonical(self) -> str:
        """Field, half-life, number and condition."""
        half_life = duration_ms(self.half_life, "half_life")
        return f"decayed({self.by}; {half_life}; {self.top}; {self.where})"


def _check_where(where: object, fields: Fields, place: str) -> None:
    if where is None:
        return
    if not isinstance(where, Expression):
        raise ConfigError(
            f"{place}.where", f"{where!r} is not a condition", 'Write e.g. col.type == "view".'
        )
    where.check(fields, f"{place}.where")


def _check_entries(number: object, place: str) -> None:
    if not isinstance(number, int) or not 1 <= number <= _MOST_ENTRIES:
        raise ConfigError(
            place, f"{number!r} entries cannot be kept", f"Take 1 to {_MOST_ENTRIES}."
        )
