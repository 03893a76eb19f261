"""What lies in a state folder for entities and copies that its pipeline declares no more.

Nothing reads these files: forgetting a user does not reach them, and what came since they were
written is not in them. A start removes them, so that what is declared again begins as a new one.
Files that belong together go together: before the first one goes a mark is written beside them, and
it goes after the last one. What has a mark is removed by the next start, declared or not.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

from freshrank.actors.errors import ConfigError
from freshrank.actors.snapshots.disk import Disk
from freshrank.deploy.pipelines.pipeline import Pipeline
from freshrank.deploy.state.folders import COPIES, ENTITIES, REKEYING
from freshrank.feature_actors.reading.copy_files import topic_of_progress
from freshrank.feature_actors.streams.stream import Stream

_REMOVED = "removed"

# Files of `FileSnapshots`, whole and begun, those that say how far a topic is copied, and marks.
_FILE = re.compile(r".+\.\d+\.snapshot|\..+\.draft")
_PROGRESS = re.compile(r"(?P<name>.+-\d+)\.\d+\.snapshot|\.(?P<begun>.+-\d+)\.draft")
_MARK = re.compile(rf"\.(?P<topic>.+)\.{_REMOVED}")

# The mark of a whole entity, in its folder.
_MARK_OF_ENTITY = f".{_REMOVED}"

# As the names of entities are.
_ENTITY = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


@dataclass(frozen=True, slots=True)
class Undeclared:
    """Files that a start removes, all or none of them."""

    name: str
    """For people: their place in the state folder."""
    mark: Path
    files: list[Path] = field(default_factory=list)
    """Without the mark."""
    folders: list[Path] = field(default_factory=list)
    """Those that go with them, the inner ones first."""

    @property
    def bytes(self) -> int:
        """How much the files hold. Raises OSError."""
        return sum(file.stat().st_size for file in self.files)

    def remove(self, disk: Disk) -> None:
        """Remove them; wherever that ends, the next call of another process finishes it.

        Raises OSError.
        """
        beside = self.mark.parent
        disk.write(self.mark, [])
        disk.sync(self.mark)
        disk.sync(beside)
        for file in self.files:
            disk.remove(file)
        for folder in self.folders:
            if folder != beside:
                disk.remove_folder(folder)
        disk.sync(beside)  # the mark may not go before what it is of
        disk.remove(self.mark)
        disk.sync(beside)
        if beside in self.folders:
            disk.remove_folder(beside)
            disk.sync(beside.parent)


def undeclared(folder: Path, pipeline: Pipeline) -> list[Undeclared]:
    """Return what a start of `pipeline` removes from the state in `folder`; changes nothing.

    Raises ConfigError, which names the path, for what no run has written there, such as a symbolic
    link; and OSError.
    """
    entities = {
        plan.entity.name: {one.topic for one in _copied(rows.source for rows in plan.tables)}
        for plan in pipeline.candidate_plans
    }
    own = {one.topic for one in pipeline.streams if one.rekeyed}
    found = list(_progress(folder, folder / REKEYING, own))
    for path in _inside(folder / ENTITIES):
        if path.name in entities and not marked(path):
            found += _progress(folder, path / COPIES, entities[path.name])
        else:
            found.append(_entity(path))
    for one in found:
        _check_parents(folder, one.mark)
    return found


def marked(entity: Path) -> bool:
    """Whether a start began to remove the folder of an entity, and has not finished."""
    return (entity / _MARK_OF_ENTITY).exists()


def told(found: Iterable[Undeclared]) -> str:
    """For people: what goes."""
    return ", ".join(
        f"{one.name} ({len(one.files):,} file{'s' * (len(one.files) != 1)}, {one.bytes:,} bytes)"
        for one in found
    )


def _copied(sources: Iterable[Stream]) -> Iterator[Stream]:
    """Those whose records are copied for an entity that candidates name."""
    return (one for one in sources if one.owner is None)


def _entity(path: Path) -> Undeclared:
    """All that there is of an entity, of which there is nothing but what a run writes."""
    if not _ENTITY.fullmatch(path.name) or not stat.S_ISDIR(path.lstat().st_mode):
        raise _odd(path)
    found = Undeclared(f"{ENTITIES}/{path.name}", path / _MARK_OF_ENTITY)
    copies = path / COPIES
    if os.path.lexists(copies):
        if not stat.S_ISDIR(copies.lstat().st_mode):
            raise _odd(copies)
        found.files.extend(_ours(one, _PROGRESS, _MARK) for one in _inside(copies))
        found.folders.append(copies)
    others = [one for one in _inside(path) if one not in (found.mark, copies)]
    found.files.extend(_ours(one, _FILE) for one in others)
    found.folders.append(path)
    return found


def _progress(root: Path, folder: Path, declared: Collection[str]) -> Iterator[Undeclared]:
    """How far topics are copied that are not in `declared`; other things stay as they are."""
    found = dict[str, Undeclared]()
    marks = set[str]()
    for path in _inside(folder):
        if mark := _MARK.fullmatch(path.name):
            topic = mark["topic"]
            marks.add(topic)
        elif file := _PROGRESS.fullmatch(path.name):
            topic = topic_of_progress(file["name"] or file["begun"])
        else:
            continue
        name = f"{folder.relative_to(root).as_posix()}/{topic}-*"
        one = found.setdefault(topic, Undeclared(name, folder / f".{topic}.{_REMOVED}"))
        if path != one.mark:
            one.files.append(path)
    for topic, one in found.items():
        if topic not in declared or topic in marks:
            yield replace(one, files=[_ours(path, _PROGRESS) for path in one.files])


def _inside(folder: Path) -> list[Path]:
    """What lies in `folder`, sorted; nothing where there is none."""
    return sorted(folder.iterdir()) if os.path.lexists(folder) else []


def _ours(path: Path, *names: re.Pattern[str]) -> Path:
    """Return `path`. Raises ConfigError unless it is a file that a run has written."""
    known = any(name.fullmatch(path.name) for name in names)
    if not known or not stat.S_ISREG(path.lstat().st_mode):
        raise _odd(path)
    return path


def _check_parents(root: Path, mark: Path) -> None:
    """Raise ConfigError where something is to be removed behind a link that lies in `root`."""
    for path in mark.relative_to(root).parents:
        if path.parts and (root / path).is_symlink():
            raise _odd(root / path)


def _odd(path: Path) -> ConfigError:
    kind = "a symbolic link, which is not followed" if path.is_symlink() else "not of Freshrank"
    return ConfigError(
        str(path),
        f"a start removes what is declared no more from there, and this is {kind}",
        "Move it to another place.",
    )
