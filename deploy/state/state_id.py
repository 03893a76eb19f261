"""The id of a state, and the origins of what is derived from it: copies of records, and rows."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path

import xxhash

from freshrank.actors.records import TopicIdentity
from freshrank.actors.snapshots.disk import Disk
from freshrank.deploy.state.record_files.json_record import JsonRecord
from freshrank.feature_actors.views.plan import FeaturePlan

RECORD = JsonRecord("state_id.json", str)
"""The id."""
ORIGIN = JsonRecord("origin.json", str)
"""The origin that it began with (`origin_of`)."""


def read_or_make(folder: Path, disk: Disk, *, anew: bool) -> str:
    """Return the id that the state folder records; `anew`, or without one, record another.

    Raises OSError, and ConfigError when the record is damaged.
    """
    recorded: str | None = None if anew else RECORD.read(folder)
    if recorded is not None:
        return recorded
    made = os.urandom(8).hex()
    RECORD.write(folder, made, disk)
    return made


def origin_of(topics: Mapping[str, TopicIdentity], state_id: str) -> str:
    """Name the log and the state that copies of records are made for, in 16 hex digits.

    A state keeps the origin that it began with: topics may come and go while it goes on.

    >>> made = origin_of({"plays": TopicIdentity("a", 4)}, "1f")
    >>> made == origin_of({"plays": TopicIdentity("a", 4)}, "1f")
    True
    >>> made == origin_of({"plays": TopicIdentity("b", 4)}, "1f")
    False
    """
    ids = [f"{topic}={identity.id}" for topic, identity in sorted(topics.items())]
    return xxhash.xxh64_hexdigest("\n".join([state_id, *ids]).encode())


def origin_of_rows(origin: str, plans: Iterable[FeaturePlan]) -> str:
    """Name what the rows in the online store come from: a state, and the definitions of features.

    Another log, another state and other features have rows of their own: those of before are not
    answers, and until the store has all of them it says so.
    """
    definitions = [plan.fingerprint for plan in plans]
    return xxhash.xxh64_hexdigest("\n".join([origin, *definitions]).encode())
