"""The shared job of stream engines in plain Python: features of a shopper, event by event.

Only the standard library is needed. A state is a dict of what JSON has, as some engines store it;
windows are rings of tiles, a tenth to a twenty-fourth of the window each.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeAlias

State: TypeAlias = dict[str, Any]

# By window: milliseconds of a tile, and how many tiles the window has.
WINDOWS = {"5m": (30_000, 10), "1h": (300_000, 12), "1d": (3_600_000, 24)}
DEDUP_MS, HOUR_MS = 600_000, 3_600_000
HALF_LIFE_MS, SESSION_GAP_MS = 1_800_000, 1_800_000
LAST = 20


def update(state: State, event: Mapping[str, Any]) -> bool:
    """Apply an event to the state of its user; gives False for one that was there before.

    >>> state = {}
    >>> shown = {"event_id": "e1", "item_id": 7, "type": "click", "price": 2.5, "ts": 60_000}
    >>> update(state, shown), update(state, shown)
    (True, False)
    >>> row(state)["count_5m"], row(state)["sum_1d"], row(state)["last"]
    (1, 2.5, [7])
    """
    at = event["ts"]
    if not state:
        state.update(at=at, seen={}, last=[], items={}, order=None, clicks=0.0, sessions=0)
        state.update({name: [] for name in WINDOWS})
    seen, newest = state["seen"], state["at"]
    if event["event_id"] in seen:
        return False
    seen[event["event_id"]] = at
    _expire(seen, at - DEDUP_MS)
    if state["sessions"] == 0 or at > newest + SESSION_GAP_MS:
        state["sessions"] += 1
    for name, (tile_ms, tiles) in WINDOWS.items():
        _add(state[name], at // tile_ms, tiles, event["price"])
    state["last"] = [*state["last"], event["item_id"]][-LAST:]
    state["items"].pop(str(event["item_id"]), None)
    state["items"][str(event["item_id"])] = at
    _expire(state["items"], at - HOUR_MS)
    state["clicks"] *= 2.0 ** (-max(0, at - newest) / HALF_LIFE_MS)
    if event["type"] == "click":
        state["clicks"] += 2.0 ** (-max(0, newest - at) / HALF_LIFE_MS)
    elif event["type"] == "order":
        state["order"] = max(at, state["order"] or 0)
    state["at"] = max(at, newest)
    return True


def row(state: State) -> dict[str, Any]:
    """The features as of the newest event."""
    found: dict[str, Any] = {"at": state["at"], "last": state["last"], "clicks": state["clicks"]}
    for name, (tile_ms, tiles) in WINDOWS.items():
        oldest = state["at"] // tile_ms - tiles
        kept = [tile for tile in state[name] if tile[0] > oldest]
        found[f"count_{name}"] = sum(tile[1] for tile in kept)
        found[f"sum_{name}"] = sum(tile[2] for tile in kept)
    found["since_order"] = None if state["order"] is None else state["at"] - state["order"]
    found["items_1h"], found["sessions"] = len(state["items"]), state["sessions"]
    return found


def _add(tiles: list[list[Any]], number: int, most: int, price: float) -> None:
    """Add an event to the tile of its time, and forget tiles that have left the window."""
    if not tiles or number > tiles[-1][0]:
        tiles.append([number, 1, price])
        while tiles[0][0] <= number - most:
            del tiles[0]
        return
    for tile in reversed(tiles):
        if tile[0] == number:
            tile[1] += 1
            tile[2] += price
            return
    if number > tiles[-1][0] - most:  # late, and the first of its tile
        tiles.append([number, 1, price])
        tiles.sort()


def _expire(times: dict[str, int], oldest_ms: int) -> None:
    """Forget what is oldest first, until one is not too old."""
    while times and times[name := next(iter(times))] <= oldest_ms:
        del times[name]
