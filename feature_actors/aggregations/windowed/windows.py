"""The windows of aggregates (sliding, tumbling, lifetime), as rings of tiles."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, cast

from freshrank.actors.errors import ConfigError
from freshrank.feature_actors.aggregations.base import Aggregate
from freshrank.feature_actors.aggregations.row_layout import Line
from freshrank.feature_actors.aggregations.windowed.zoned_days import DAY_MS, tile_shifts
from freshrank.feature_actors.streams.durations import duration_ms, duration_text, is_duration
from freshrank.feature_actors.streams.times.zones import zone_of

LIFETIME = "lifetime"
"""In place of a duration: all events of an entity."""

# A window slides in twelfths of itself unless `hop` is given: an error of at most 8.3 % of the
# window at its old end, for 13 tiles of memory.
DEFAULT_HOPS = 12

# More tiles than this make a row of many kilobytes: a typing error rather than a wish.
_MOST_TILES = 1_000

# Length of the single tile of a lifetime: kernels divide times below it exactly.
_EVER_MS = 2**53


@dataclass(frozen=True, slots=True)
class Tumbling:
    """A window that starts at each multiple of `length`, as a day does, and does not slide.

    ``Count(windows=[Tumbling("1d")])`` named ``views`` is the column ``views_current_1d``: the
    events since midnight, UTC. With `previous` it is ``views_previous_1d``: those of the whole day
    before. Both ends are exact.

    The current window takes a single number of state, the previous window two. A late event
    counts while its window is the current or the previous one.

    Parameters
    ----------
    length
        A duration. Windows begin at its multiples, counted from 1970-01-01 00:00 UTC, a Thursday.
    previous
        Read the last complete window instead of the current one.
    begins
        By how much later than that they begin: ``Tumbling("1d", begins="4h")`` are days from four
        in the morning on, ``Tumbling("7d", begins="4d")`` weeks from Monday on.
    zone
        The IANA name of the zone whose clocks say so, as in ``Tumbling("1d",
        zone="Europe/Berlin")``; `length` is then in whole days. None: UTC. A day in which clocks
        are put forward has 23 hours, one in which they are put back 25, and a beginning that is
        on the clock twice is the first of both. The changes of 1970 to 2100 are followed, by the
        rules of the machine's tz database.
    """

    length: str
    previous: bool = False
    begins: str | None = None
    zone: str | None = None


@dataclass(frozen=True, slots=True)
class Window:
    """A window as a ring of tiles.

    A sliding window reads as of ``at`` what is in ``[floor(at - length, hop), at]``: at least
    `length_ms`, and at most `hop_ms` more (sawtooth windows, as in Airbnb's Chronon). With a delay
    it is read as of so long before, and takes the tiles only that were over by then. A length of 0
    is the tile that is on: a tumbling window, or a lifetime, whose tile never ends.
    """

    text: str
    """The suffix of the feature's column: of a sliding window, as the user wrote it."""
    length_ms: int
    hop_ms: int
    delay_ms: int = 0
    """How long before the time of a read it ends."""
    shift_ms: int = 0
    """How long before the epoch a tile begins."""
    previous: bool = False
    """Whether it is the tumbling window before the current one."""
    zone: str | None = None
    """The zone whose clocks say when its tiles begin, later by `shift_ms`; None: UTC."""

    @property
    def tiles(self) -> int:
        """The number of tiles that a read can touch.

        >>> Window("1h", 3_600_000, 300_000).tiles
        13
        """
        # A date may have been left out within the delay, as a zone changed sides of the date line.
        left_out = int(self.zone is not None and self.delay_ms > 0)
        return -(-(self.length_ms + self.delay_ms) // self.hop_ms) + 1 + left_out

    @property
    def slides(self) -> bool:
        """Whether it moves with the time of the read."""
        return self.length_ms > 0 and not self.previous

    @property
    def whole(self) -> bool:
        """Whether it takes only tiles that were over by its end."""
        return self.previous or self.delay_ms > 0

    @property
    def keeps_ms(self) -> int | None:
        """For how long an event can matter to it; None: for ever."""
        if self.hop_ms == _EVER_MS:
            return None
        # Days of a zone are longer than others by an hour at times, and by a date left out.
        return (self.tiles + int(self.zone is not None)) * self.hop_ms

    @property
    def canonical(self) -> str:
        """The window in a canonical spelling, without the delay."""
        if self.slides:
            return f"{self.length_ms}/{self.hop_ms}"
        if self.hop_ms == _EVER_MS:
            return LIFETIME
        zone = "" if self.zone is None else f" in {self.zone}"
        return f"{'previous' if self.previous else 'current'} {self.hop_ms}-{self.shift_ms}{zone}"

    def line(self, opcode: int, out: int) -> Line:
        """The line of a program that reads it; what it reads of events is not said yet."""
        shift_ms, changes = self.shift_ms, tuple[tuple[int, int], ...]()
        if self.zone is not None:
            shift_ms, changes = tile_shifts(self.zone, self.hop_ms, self.shift_ms)
        return Line(
            opcode=opcode,
            out=out,
            size=self.tiles,
            hop_ms=self.hop_ms,
            span_ms=self.length_ms if self.slides else 0,
            delay_ms=self.delay_ms,
            shift_ms=shift_ms,
            changes=changes,
            whole=self.whole,
            exact=not self.slides,
        )


class OverWindows(Aggregate):
    """An aggregate that gives the same for each of its windows."""

    windows: Sequence[str | Tumbling]
    hop: str | None = None

    def parts(self) -> Sequence[Aggregate]:
        """One for each window."""
        return [
            self._over(declared, window)
            for declared, window in zip(self.windows, self._windows(), strict=True)
        ]

    @abstractmethod
    def _windows(self) -> tuple[Window, ...]:
        """Those of `windows`, in order."""

    def _over(self, declared: str | Tumbling, window: Window) -> Aggregate:
        changed: dict[str, Any] = {"windows": [declared]}
        if self.hop is not None and not window.slides:
            changed["hop"] = None
        part: Aggregate = replace(cast(Any, self), **changed)  # every kind is a dataclass
        return part


def canonical_windows(windows: Sequence[Window]) -> str:
    """Windows in a canonical spelling, with the delay if it is not 0."""
    delay = f"; delay {windows[0].delay_ms}" if windows[0].delay_ms else ""
    return ", ".join(window.canonical for window in windows) + delay


def parse_windows(
    declared: Sequence[str | Tumbling], hop: str | None, place: str, delay: str | None = None
) -> tuple[Window, ...]:
    """The windows of an aggregate, which end `delay` before the time of a read.

    Raises ConfigError for a string in place of a list, no or doubled windows, a misspelt
    duration, a hop longer than its window or so short that the ring gets huge, a hop where nothing
    slides, and a delay of a window that is on at the time of the read.
    """
    where = f"{place}.windows"
    if isinstance(declared, str):
        fix = f'Write a list: ["{declared}"].'
        if not is_duration(declared) and declared != LIFETIME:
            fix = 'Write a list of whole numbers with one of ms, s, m, h, d: ["30s", "7d"].'
        raise ConfigError(where, f"{declared!r} is a string", fix)
    if not isinstance(declared, Sequence):
        raise ConfigError(where, f"{declared!r} is no list", 'Write a list, as in ["1h", "7d"].')
    if len(declared) == 0:
        raise ConfigError(where, "no window is given", 'Write at least one, as in ["1h", "7d"].')
    delay_ms = 0 if delay is None else duration_ms(delay, f"{place}.delay")
    found: dict[tuple[int, int, bool], Window] = {}
    for index, one in enumerate(declared):
        at = f"{where}[{index}]"
        if isinstance(one, Tumbling) or one == LIFETIME:
            window = _standing_window(one, at, f"{place}.delay", delay_ms)
        else:
            window = sliding_window(one, hop, (at, f"{place}.hop"), delay_ms)
        kind = (window.length_ms, 0 if window.slides else window.hop_ms, window.previous)
        if kind in found:
            raise ConfigError(at, f"{one!r} is given twice", "Drop one of them.")
        found[kind] = window
    windows = tuple(found.values())
    if hop is not None and not any(window.slides for window in windows):
        raise ConfigError(f"{place}.hop", "no window slides", "Drop the hop.")
    return windows


def sliding_window(text: str, hop: str | None, places: tuple[str, str], delay_ms: int) -> Window:
    """The window of a duration; `places` name it and its hop in errors. Raises ConfigError."""
    place, hop_place = places
    length = duration_ms(text, place)
    step = -(-length // DEFAULT_HOPS) if hop is None else duration_ms(hop, hop_place)
    if step > length:
        raise ConfigError(
            place, f"{text!r} is shorter than its hop {hop!r}", "Take a hop that fits in it."
        )
    return _of_bounded_tiles(Window(text, length, step, delay_ms), hop_place)


def _standing_window(
    declared: str | Tumbling, place: str, delay_place: str, delay_ms: int
) -> Window:
    """A lifetime or a tumbling window. Raises ConfigError."""
    if delay_ms and not (isinstance(declared, Tumbling) and declared.previous):
        raise ConfigError(
            delay_place,
            f"{declared!r} is on at the time of a read: it ends with it",
            "Take a sliding window, or Tumbling(..., previous=True), where there is a delay.",
        )
    if isinstance(declared, str):
        return Window(declared, 0, _EVER_MS)
    length = duration_ms(declared.length, f"{place}.length")
    begins = 0
    if declared.begins is not None:
        begins = duration_ms(declared.begins, f"{place}.begins")
    if begins >= length:
        raise ConfigError(
            f"{place}.begins",
            f"{declared.begins!r} is no shorter than the window",
            f"Take less than {declared.length!r}.",
        )
    _check_zone(declared, length, place)
    name = "previous" if declared.previous else "current"
    window = Window(
        f"{name}_{declared.length}",
        length if declared.previous else 0,
        length,
        delay_ms,
        shift_ms=-begins % length,
        previous=declared.previous,
        zone=declared.zone,
    )
    return _of_bounded_tiles(window, delay_place)


def _check_zone(declared: Tumbling, length_ms: int, place: str) -> None:
    if declared.zone is None:
        return
    zone_of(declared.zone, f"{place}.zone")
    if length_ms % DAY_MS:
        raise ConfigError(
            f"{place}.length",
            f"{declared.length!r} is not in whole days, and clocks of a zone may go back an hour",
            'Take whole days with a zone, as in "1d" or "7d".',
        )


def _of_bounded_tiles(window: Window, place: str) -> Window:
    if window.tiles > _MOST_TILES:
        raise ConfigError(
            place,
            f"a hop of {duration_text(window.hop_ms)!r} cuts {window.text!r}, with its delay, into "
            f"{window.tiles} tiles",
            "Take a longer hop, or a shorter delay: at most "
            f"{_MOST_TILES} tiles are kept an entity.",
        )
    return window
