"""Which files hold a user's history, and which topic each is of."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from freshrank.actors.errors import ConfigError, did_you_mean

PARQUET = (".parquet", ".pq")
CSV = (".csv", ".csv.gz")
JSON_LINES = (".jsonl", ".ndjson", ".jsonl.gz", ".ndjson.gz")
SUFFIXES = (*PARQUET, *CSV, *JSON_LINES)

# All are open at once, to be merged by time; a process may usually have 1,024 files open.
_MOST_FILES = 500

_FORMATS = "Parquet (.parquet), CSV (.csv) or JSON lines (.jsonl); the last two also with .gz"


@dataclass(frozen=True, slots=True)
class HistoryFile:
    """A file of records of one topic."""

    path: Path
    topic: str | None
    """None: the pipeline's file reads it, with its function ``records``."""


def find_files(
    given: Sequence[str | Path], topics: Sequence[str], *, by_records: bool = False
) -> list[HistoryFile]:
    """Find the files that `given` name, each a file or a folder: ``"clicks.csv"``, ``"data"``.

    ``"clicks=data/2024"`` says which topic the records are of. Else that is the only one of
    `topics`, or the one that the file, or a folder that it lies in, is named after
    (``clicks.parquet``, ``clicks/2024-05.parquet``). With `by_records` the pipeline's file reads
    what is given without a topic. Raises ConfigError for what is missing or cannot be told.

    >>> find_files(["nowhere.csv"], ["clicks"])
    Traceback (most recent call last):
    ...
    freshrank.actors.errors.ConfigError: nowhere.csv: there is no such file. Give a file or a \
folder of Parquet (.parquet), CSV (.csv) or JSON lines (.jsonl); the last two also with .gz.
    """
    found: list[HistoryFile] = []
    for one in given:
        topic, path = _split(one, topics)
        if not path.exists():
            raise ConfigError(
                str(path), "there is no such file", f"Give a file or a folder of {_FORMATS}."
            )
        if topic is None and by_records:
            found.append(HistoryFile(path, None))
            continue
        for file in _files_of(path):
            found.append(HistoryFile(file, topic or _topic_of(file, topics)))
    if len(found) > _MOST_FILES:
        raise ConfigError(
            "history",
            f"{len(found)} files are more than the {_MOST_FILES} that are merged at once",
            "Join some of them, or give those that are needed.",
        )
    return found


def format_of(path: Path) -> str:
    """Return which of `SUFFIXES` a file has. Raises ConfigError where it has none."""
    name = path.name.lower()
    for suffix in sorted(SUFFIXES, key=len, reverse=True):
        if name.endswith(suffix):
            return suffix
    raise ConfigError(str(path), "its format is not known here", f"Give {_FORMATS}.")


def _split(given: str | Path, topics: Sequence[str]) -> tuple[str | None, Path]:
    """The topic that is named, if any, and the path."""
    if isinstance(given, Path) or "=" not in given or Path(given).exists():
        return None, Path(given)
    topic, _, path = given.partition("=")
    if topic not in topics:
        problem = f"the pipeline has no topic {topic!r}"
        raise ConfigError(given, problem, did_you_mean(topic, topics))
    return topic, Path(path)


def _files_of(path: Path) -> Iterator[Path]:
    """The file itself, or those of a folder in the order of their names."""
    if not path.is_dir():
        format_of(path)
        yield path
        return
    inside = (
        one
        for one in sorted(path.rglob("*"))
        if one.is_file() and one.name.lower().endswith(SUFFIXES) and one.name[0] not in "._"
    )
    first = next(inside, None)
    if first is None:
        raise ConfigError(str(path), "there is no file of history in it", f"Give {_FORMATS}.")
    yield first
    yield from inside


def _topic_of(path: Path, topics: Sequence[str]) -> str:
    if len(topics) == 1:
        return topics[0]
    stem = path.name[: -len(format_of(path))]
    for name in (stem, *(folder.name for folder in path.absolute().parents)):
        if name in topics:
            return name
    raise ConfigError(
        str(path),
        f"it does not say which topic it is of: {_listed(topics)}",
        f"Write {topics[0]}={path}, or name the file or its folder after the topic.",
    )


def _listed(topics: Sequence[str]) -> str:
    return ", ".join(map(repr, topics))
