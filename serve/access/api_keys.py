"""API keys with scopes; only their hashes are kept.

A key is ``fr_<id>_<secret>``: the id finds its record, the secret has 256 random bits. Against so
many bits one SHA-256 is as good as a slow hash of passwords, and costs a microsecond.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Iterable, Sequence
from enum import Enum
from pathlib import Path

import msgspec

from freshrank.actors.errors import ConfigError
from freshrank.actors.snapshots.disk import Disk

_PREFIX = "fr"
_ID_BYTES = 4
_SECRET_BYTES = 32


class Scope(Enum):
    """What a key allows."""

    SCORE = "score"
    """Scores, features and events of entities, and descriptions of the pipeline and its model."""
    EVENTS = "events"
    """Writing events."""
    METRICS = "metrics"
    """Metrics and statuses of all parts."""


class ApiKey(msgspec.Struct, frozen=True, kw_only=True):
    """The record of a key, without its secret."""

    id: str
    name: str
    """For people: who uses it."""
    scopes: frozenset[Scope]
    sha256: str
    """Of the whole key, in hex."""
    created_ms: int
    rate_per_s: float | None = None
    """Requests a second that the endpoint lets through; None: as many as come."""


class _File(msgspec.Struct, frozen=True):
    keys: tuple[ApiKey, ...]


def create_key() -> str:
    """Make the text of a new key; it is kept nowhere."""
    return f"{_PREFIX}_{secrets.token_hex(_ID_BYTES)}_{secrets.token_urlsafe(_SECRET_BYTES)}"


def key_record(
    text: str,
    name: str,
    scopes: Iterable[Scope],
    now_ms: int = 0,
    *,
    rate_per_s: float | None = None,
) -> ApiKey:
    """Make the record of the key `text`, which does not contain it.

    >>> text = create_key()
    >>> record = key_record(text, "shop", [Scope.SCORE])
    >>> text.startswith(f"fr_{record.id}_"), text in repr(record)
    (True, False)
    """
    return ApiKey(
        id=_id_of(text),
        name=name,
        scopes=frozenset(scopes),
        sha256=digest(text),
        created_ms=now_ms,
        rate_per_s=rate_per_s,
    )


def digest(text: str) -> str:
    """Return the SHA-256 of a key, in hex."""
    return hashlib.sha256(text.encode()).hexdigest()


def known_key(text: str, keys: Sequence[ApiKey]) -> ApiKey | None:
    """Return the record of the key `text`; None where it is none of `keys`.

    Takes the same time for every secret behind an id, which is no secret itself.

    >>> text = create_key()
    >>> record = key_record(text, "shop", [Scope.SCORE])
    >>> known_key(text, [record]) is record, known_key(text + "x", [record])
    (True, None)
    """
    number, found = _id_of(text), digest(text)
    for key in keys:
        if key.id == number and hmac.compare_digest(found, key.sha256):
            return key
    return None


def _id_of(text: str) -> str:
    return text.partition("_")[2].partition("_")[0]


def read_keys(path: Path) -> tuple[ApiKey, ...]:
    """Read a file of keys; none where there is no file. Raises ConfigError."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=_File).keys
    except FileNotFoundError:
        return ()
    except OSError as error:
        raise _unreadable(path, error.strerror or type(error).__name__) from error
    except msgspec.MsgspecError as error:
        raise _unreadable(path, f"it is not a file of keys ({error})") from error


def write_keys(path: Path, keys: Iterable[ApiKey]) -> None:
    """Write a file of keys, whole or not at all, for its owner alone. Raises ConfigError."""
    disk = Disk()
    text = msgspec.json.format(msgspec.json.encode(_File(tuple(keys))))
    try:
        if not path.parent.exists():
            disk.make_folder(path.parent)
        disk.replace(path.with_name(f".{path.name}.draft"), path, [text])
    except OSError as error:
        raise _unreadable(path, error.strerror or type(error).__name__) from error


def _unreadable(path: Path, problem: str) -> ConfigError:
    return ConfigError(
        f"serve.keys_file {path}", problem, "Give a file that can be used, or remove this one."
    )
