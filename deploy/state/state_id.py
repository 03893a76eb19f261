"""The id of a state, and the origin of what is derived from it: the rows of the online store."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import xxhash

from freshrank.actors.records import TopicIdentity
from freshrank.actors.snapshots.disk import Disk
from freshrank.deploy.state.record_files.json_record import JsonRecord

RECORD = JsonRecord("state_id.json", str)
"""The id."""


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
    """Name the log and the state that rows come from, in 16 hex digits.

    Another log, or another state, has rows of its own in the online store: those of before are not
    answers.

    >>> made = origin_of({"plays": TopicIdentity("a", 4)}, "1f")
    >>> made == origin_of({"plays": TopicIdentity("a", 4)}, "1f")
    True
    >>> made == origin_of({"plays": TopicIdentity("b", 4)}, "1f")
    False
    """
    ids = [f"{topic}={identity.id}" for topic, identity in sorted(topics.items())]
    return xxhash.xxh64_hexdigest("\n".join([state_id, *ids]).encode())
