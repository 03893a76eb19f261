"""Requests that wait until the rows of their entity contain certain events."""

from __future__ import annotations

from collections.abc import Mapping

from freshrank.actors.errors import RequestError, nearest
from freshrank.actors.features.service import FeatureService
from freshrank.serve.scoring.feature_reader import FeatureReader, StoredRow


async def until_applied(
    reader: FeatureReader,
    features: FeatureService,
    entity: tuple[str, str],
    wanted: Mapping[str, int],
    timeout_s: float,
) -> None:
    """Return once the rows of `entity` contain its events at the offsets `wanted`, by topic.

    `entity` is a kind and a canonical key.

    Raises RequestError (409) for a topic of which the entity has no row, and after `timeout_s`: the
    document cannot tell which topics those are.
    """
    kind, key = entity
    keys = features.keys(kind, key)
    _, reached = features.freshness(kind, [None] * len(keys))
    for topic in wanted:
        if topic not in reached:
            known = ", ".join(map(repr, reached))
            reason = f"no events of {topic!r} are in the rows of a {kind}, only of {known}"
            if any(one.startswith(f"{topic}.by_") for one in reached):
                reason += ": copies, whose offsets are not those of the events (docs/guarantees.md)"
            elif near := nearest(topic, reached):
                reason += f"; did you mean {near!r}?"
            raise RequestError("min_offsets", reason, status=409)

    def contained(found: list[StoredRow]) -> bool:
        nonlocal reached
        _, reached = features.freshness(kind, [stored.row for stored in found])
        return all(reached[topic] >= offset for topic, offset in wanted.items())

    if not await reader.read_until(keys, contained, timeout_s):
        topic = next(topic for topic, offset in wanted.items() if reached[topic] < offset)
        last = "none" if reached[topic] < 0 else f"the one at offset {reached[topic]}"
        raise RequestError(
            "min_offsets",
            f"of {topic!r}, the event at offset {wanted[topic]} is not in the row of {key!r} after "
            f"{timeout_s:.3g} s; the last in it: {last}. An event that changes nothing (late, "
            "repeated, rejected) does not come",
            status=409,
        )
