"""Where tiles of whole days begin by the clocks of a zone."""

from __future__ import annotations

from functools import lru_cache

from freshrank.feature_actors.streams.times.zones import clock_changes

DAY_MS = 86_400_000


@lru_cache
def tile_shifts(
    zone: str, length_ms: int, shift_ms: int
) -> tuple[int, tuple[tuple[int, int], ...]]:
    """The shift of tiles at first, and the times, ms, from which it is another, each with that one.

    The tile of a time is ``(time + shift) // length_ms``: its number never falls with time.
    Tiles begin `shift_ms` before the multiples of `length_ms`, whole days, on the zone's clock.

    >>> tile_shifts("Asia/Kolkata", 86_400_000, 0)
    (106200000, ())
    """
    # One tile more keeps the sum above 0 in zones behind UTC, from 1970 on.
    changes = [(at, length_ms + shift_ms + offset_ms) for at, offset_ms in clock_changes(zone)]
    found = [changes[0]]
    for at, shift in changes[1:]:
        _, before = found[-1]
        again_ms = 0
        if (at + shift) // length_ms < (at - 1 + before) // length_ms:
            # Clocks go back across the beginning of a tile, which so comes again: the tile has
            # begun when it came first, and new clocks count from the second time on.
            again_ms = -(at + shift) % length_ms
        found.append((at + again_ms, shift))
    return found[0][1], tuple(found[1:])
