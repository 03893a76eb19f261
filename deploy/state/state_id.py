"""The id of a state, and the origins of what is derived from it: copies of records, and rows."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
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


@dataclass(frozen=True, slots=True)
class RowsOrigin:
    """The origin of the rows in the online store, and what they are rows of."""

    origin: str
    """Random."""
    made_for: str
    """Origin and definitions (`rows_made_for`)."""


ROWS_ORIGIN = JsonRecord("rows_origin.json", RowsOrigin)
"""That of the newest start."""


@dataclass(frozen=True, slots=True)
class Origins:
    """What is derived from a state belongs to them."""

    copies: str
    """Of copies of records: it stays while the state goes on."""
    rows: str
    """Of rows in the online store: another one after each change of definitions."""


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


def rows_made_for(origin: str, plans: Iterable[FeaturePlan]) -> str:
    """Name what the rows in the online store come from: a state, and the definitions of features.

    `origin` is that of the state.
    """
    definitions = [plan.fingerprint for plan in plans]
    return xxhash.xxh64_hexdigest("\n".join([origin, *definitions]).encode())


def rows_origin(folder: Path, made_for: str, disk: Disk) -> str:
    """Return the origin of rows that are `made_for` this; random where others were before.

    Another log, another state and other features have rows of their own: those of before are not
    answers, and until the store has all of them it says so. Definitions that come back do not find
    the rows that they left: these lack what came meanwhile.

    Raises OSError, and ConfigError when the record is damaged.
    """
    recorded: RowsOrigin | None = ROWS_ORIGIN.read(folder)
    if recorded is not None and recorded.made_for == made_for:
        return recorded.origin
    made = RowsOrigin(os.urandom(8).hex(), made_for)
    ROWS_ORIGIN.write(folder, made, disk)
    return made.origin
