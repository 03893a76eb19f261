"""Diversity: at most so many items of a list share the value of a field."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from freshrank.actors.protocols import JsonValue


def diverse(
    order: Sequence[int],
    rows: Sequence[Mapping[str, JsonValue]],
    most_per: Mapping[str, int],
    k: int,
) -> list[int]:
    """The first `k` of `order` such that at most ``most_per[field]`` share a value of `field`.

    Greedy: each item is taken that the items before it leave room for. Items whose field is None
    do not count.

    Parameters
    ----------
    order
        Indices of `rows`, the best first.
    rows
        By field, what the catalogue says of each item.
    most_per
        By field, how many items may share a value.
    k
        Items wanted.

    >>> rows = [{"brand": "a"}, {"brand": "a"}, {"brand": None}, {"brand": "b"}]
    >>> diverse([1, 0, 2, 3], rows, {"brand": 1}, 3)
    [1, 2, 3]
    """
    if not most_per:
        return list(order[:k])
    chosen = list[int]()
    counts = {field: Counter[JsonValue]() for field in most_per}
    for index in order:
        if len(chosen) == k:
            break
        values = [(field, rows[index].get(field)) for field in most_per]
        if any(counts[field][value] >= most_per[field] for field, value in values):
            continue
        chosen.append(index)
        for field, value in values:
            if value is not None:
                counts[field][value] += 1
    return chosen
