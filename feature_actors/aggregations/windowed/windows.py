"""Durations as strings, and windows as rings of tiles."""

from collections.abc import Sequence
from dataclasses import dataclass

from freshrank.actors.errors import ConfigError
from freshrank.feature_actors.streams.durations import duration_ms, duration_text, is_duration

# A window slides in twelfths of itself unless `hop` is given: an error of at most 8.3 % of the
# window at its old end, for 13 tiles of memory.
DEFAULT_HOPS = 12

# More tiles than this make a row of many kilobytes: a typing error rather than a wish.
_MOST_TILES = 1_000


@dataclass(frozen=True, slots=True)
class Window:
    """A sliding window, tiled: the head is exact, the tail snaps to a multiple of the hop.

    Read as of ``at`` it covers ``[floor(at - length, hop), at]``: never less than `length_ms`,
    and at most `hop_ms` more (sawtooth windows, as in Airbnb's Chronon). With a delay it is read
    as of so long before, and takes the tiles only that were over by then.
    """

    text: str
    """As the user wrote it: the suffix of the feature's column."""
    length_ms: int
    hop_ms: int
    delay_ms: int = 0
    """How long before the time of a read it ends."""

    @property
    def tiles(self) -> int:
        """The number of tiles that a read can touch.

        >>> Window("1h", 3_600_000, 300_000).tiles
        13
        """
        return -(-(self.length_ms + self.delay_ms) // self.hop_ms) + 1


def parse_windows(
    texts: Sequence[str], hop: str | None, place: str, delay: str | None = None
) -> tuple[Window, ...]:
    """The windows of one aggregate, which end `delay` before the time of a read.

    Raises ConfigError for a string in place of a list, no or doubled windows, a misspelt
    duration, and a hop longer than its window or so short that the ring gets huge.
    """
    where = f"{place}.windows"
    if isinstance(texts, str):
        fix = f'Write a list: ["{texts}"].'
        if not is_duration(texts):
            fix = 'Write a list of whole numbers with one of ms, s, m, h, d: ["30s", "7d"].'
        raise ConfigError(where, f"{texts!r} is a string", fix)
    if not isinstance(texts, Sequence):
        raise ConfigError(where, f"{texts!r} is no list", 'Write a list, as in ["1h", "7d"].')
    if len(texts) == 0:
        raise ConfigError(where, "no window is given", 'Write at least one, as in ["1h", "7d"].')
    delay_ms = 0 if delay is None else duration_ms(delay, f"{place}.delay")
    found: dict[int, Window] = {}
    for index, text in enumerate(texts):
        window = _window(text, hop, f"{where}[{index}]", f"{place}.hop", delay_ms)
        if window.length_ms in found:
            raise ConfigError(f"{where}[{index}]", f"{text!r} is given twice", "Drop one of them.")
        found[window.length_ms] = window
    return tuple(found.values())


def _window(text: str, hop: str | None, place: str, hop_place: str, delay_ms: int) -> Window:
    length = duration_ms(text, place)
    step = -(-length // DEFAULT_HOPS) if hop is None else duration_ms(hop, hop_place)
    window = Window(text, length, step, delay_ms)
    if step > length:
        raise ConfigError(
            place, f"{text!r} is shorter than its hop {hop!r}", "Take a hop that fits in it."
        )
    if window.tiles > _MOST_TILES:
        raise ConfigError(
            hop_place,
            f"a hop of {duration_text(step)!r} cuts {text!r}, with its delay, into "
            f"{window.tiles} tiles",
            f"Take a longer hop: at most {_MOST_TILES} tiles are kept an entity.",
        )
    return window
