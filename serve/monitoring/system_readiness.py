"""Whether a new event would reach the answers: what the statuses of the other parts say of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from freshrank.actors.protocols import Status

CANDIDATES_OF = "entity-"
"""Begins the names of the shards of entities that candidates name: ``entity-item-0``."""


def missing_parts(
    statuses: Mapping[str, Status],
    partitions: int,
    candidate_partitions: Mapping[str, int] | None = None,
) -> dict[str, str]:
    """Return, by part, what keeps new events from the features or the weights.

    The driver of a run reports on the servers that it has started.

    Parameters
    ----------
    statuses
        By part: those that were posted lately. A part that has ended or hangs posts none.
    partitions
        Of each topic of events: each has to be owned by a shard that reads it.
    candidate_partitions
        The same of the topics of each entity that candidates name.

    >>> missing_parts({"learner": {}, "shard-0": {"partitions": {"0": {}}}}, 2)
    {'shards': 'no shard has reported on partition(s) 1 lately'}
    >>> stalled = {"partitions": {"0": {}}, "not_ready": {"kafka": "no answer for 12 s"}}
    >>> missing_parts({"learner": {}, "shard-0": stalled}, 1)
    {'shard-0': 'kafka: no answer for 12 s'}
    """
    missing: dict[str, str] = {}
    for part, status in sorted(statuses.items()):
        if reasons := _mapping(status.get("not_ready")):
            missing[part] = "; ".join(f"{name}: {reason}" for name, reason in reasons.items())
    if unowned := _unowned(statuses, "shard-", partitions):
        missing["shards"] = f"no shard has reported on partition(s) {unowned} lately"
    for entity, count in (candidate_partitions or {}).items():
        if unowned := _unowned(statuses, f"{CANDIDATES_OF}{entity}-", count):
            missing[f"shards of {entity}"] = (
                f"no shard has reported on partition(s) {unowned} of {entity} lately"
            )
    if "learner" not in statuses:
        missing["learner"] = "it has not posted its status lately"
    return missing


def _unowned(statuses: Mapping[str, Status], parts: str, partitions: int) -> str:
    """The partitions that no part, of those whose names begin so, has reported on; or ""."""
    owned: set[str] = set()
    for part, status in statuses.items():
        if part.startswith(parts):
            owned |= _mapping(status.get("partitions")).keys()
    return _listed([str(one) for one in range(partitions) if str(one) not in owned])


def _mapping(value: object) -> Mapping[str, object]:
    return value if isinstance(value, Mapping) else {}


def _listed(names: Sequence[str], most: int = 8) -> str:
    rest = len(names) - most
    return ", ".join(names[:most]) + (f" and {rest} more" if rest > 0 else "")
