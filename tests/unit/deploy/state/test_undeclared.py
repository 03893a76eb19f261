"""Files of what is declared no more go at a start: all of them, or none yet."""

from __future__ import annotations

import itertools
import re
import shutil
from collections.abc import Callable, Collection
from pathlib import Path

import pytest
from changing_songs import CATALOGUE, ITEMS, VISITS, songs_with
from made_state import make_files
from power_loss import PowerLoss, PowerLossDisk

from freshrank.actors.errors import ConfigError
from freshrank.actors.snapshots.file_store import FileSnapshots
from freshrank.deploy.pipelines.pipeline import Pipeline
from freshrank.deploy.state.definitions.kept_definitions import KeptDefinitions
from freshrank.deploy.state.definitions.undeclared import told, undeclared
from freshrank.deploy.state.folders import COPIES, ENTITIES, REKEYING
from freshrank.deploy.state.state_folder import StateFolder
from freshrank.deploy.state.state_id import ROWS_ORIGIN

ANYWHERE = (*VISITS, ("schema=Visit)", 'schema=Visit, partitioner="any")'))
# Features of songs, beside those of `ANYWHERE`.
POPULARITY = (ITEMS[0], ("[Listening,", "[Listening, Popularity,"))
ALL = songs_with(ANYWHERE, POPULARITY, CATALOGUE)
FEW = songs_with()
# `CATALOGUE` keeps the entity, and not what is copied for its features.
FEWER_OF_SONGS = songs_with(CATALOGUE, ANYWHERE)

SONG = f"{ENTITIES}/song"
OF_SONG = f"{SONG}/{COPIES}"


def made(folder: Path, pipeline: Pipeline = ALL) -> None:
    """The state that a run leaves, with two files of each source partition that it copies."""
    folder.mkdir(exist_ok=True)
    StateFolder(folder, "apache").begin(pytest.fail, {}, pipeline)
    make_files(folder, pipeline, range(2))
    for place, name in (
        (REKEYING, "visits-0"),
        (REKEYING, "visits-11"),
        (OF_SONG, "plays-0"),
        (OF_SONG, "plays-1"),
    ):
        for _ in range(2):
            FileSnapshots(folder / place).save(name, [b"progress"])
    (folder / SONG / ".partition-1.draft").write_bytes(b"begun")
    (folder / REKEYING / ".visits-0.draft").write_bytes(b"begun")


def begin(folder: Path, pipeline: Pipeline, disk: PowerLossDisk | None = None) -> list[str]:
    """A start; gives what it said."""
    said = list[str]()
    state = StateFolder(folder, "apache") if disk is None else StateFolder(folder, "apache", disk)
    state.check(pipeline)
    state.begin(said.append, {}, pipeline)
    return said


def files(folder: Path, *below: str) -> set[str]:
    """All that lies there and is no folder."""
    found = [path for name in below or ("",) for path in (folder / name).rglob("*")]
    return {one.relative_to(folder).as_posix() for one in found if not one.is_dir()}


def test_what_is_declared_stays(tmp_path: Path) -> None:
    made(tmp_path)
    before = files(tmp_path)
    assert begin(tmp_path, ALL) == []
    assert files(tmp_path) == before
    assert undeclared(tmp_path, ALL) == []


def test_an_entity_and_copies_that_are_declared_no_more_leave_nothing(tmp_path: Path) -> None:
    made(tmp_path)
    before = files(tmp_path)
    found = undeclared(tmp_path, FEW)
    assert files(tmp_path) == before, "looking changes nothing"
    size = sum((tmp_path / one).stat().st_size for one in before if one.startswith(SONG))
    what = f"rekeying/visits-* (5 files, 37 bytes), {SONG} (7 files, {size:,} bytes)"
    assert told(found) == what
    assert begin(tmp_path, FEW)[-1] == f"removing what is declared no more: {what}"
    assert not (tmp_path / SONG).exists()
    assert files(tmp_path, REKEYING) == set()
    gone = {one for one in before if one.startswith((ENTITIES, REKEYING))}
    assert files(tmp_path) == before - gone
    assert not any("removing" in line for line in begin(tmp_path, FEW))


def test_copies_for_an_entity_go_when_no_feature_is_made_of_them(tmp_path: Path) -> None:
    made(tmp_path)
    before = files(tmp_path)
    assert begin(tmp_path, FEWER_OF_SONGS)[-1].endswith(f"{OF_SONG}/plays-* (4 files, 32 bytes)")
    assert files(tmp_path) == {one for one in before if not one.startswith(OF_SONG)}


def test_a_start_that_is_refused_removes_nothing(tmp_path: Path) -> None:
    made(tmp_path)
    before = files(tmp_path)
    other_label = songs_with((('within="30m"', 'within="40m"'),))
    with pytest.raises(ConfigError, match="have changed since"):
        begin(tmp_path, other_label)
    assert files(tmp_path) == before


def test_the_state_of_an_embedded_broker_is_moved_as_it_is(tmp_path: Path) -> None:
    folder = tmp_path / "songs"
    made(folder)
    (folder / "broker").write_text("embedded")
    before = files(folder, SONG)
    state, said = StateFolder(folder, "embedded"), list[str]()
    state.check(FEW)
    assert state.to_remove(FEW) == []
    state.begin(said.append, {}, FEW)
    assert files(tmp_path / "songs.previous", SONG) == before
    assert not any("removing" in line for line in said)


def marks_and_some(name: str) -> bool:
    return name.endswith(".removed") or "-0" in name


def no_marks(name: str) -> bool:
    return not name.endswith(".removed")


@pytest.mark.parametrize(
    "names_early",
    [False, True, marks_and_some, no_marks],
    ids=["late", "early", "marks and some", "no marks"],
)
@pytest.mark.parametrize("then", [FEW, ALL], ids=["still gone", "declared again"])
def test_a_loss_of_power_leaves_all_files_or_a_removal_that_the_next_start_ends(
    tmp_path: Path, names_early: bool | Callable[[str], bool], then: Pipeline
) -> None:
    """At whatever operation of the disk the power is lost, in whatever order names are written."""
    removed = set[bool]()
    made(tmp_path / "made")
    for operations in itertools.count():
        folder = shutil.copytree(tmp_path / "made", tmp_path / str(operations))
        whole = files(folder, ENTITIES, REKEYING)
        rows = origin_of_rows(folder)
        disk, lost = PowerLossDisk(folder, operations, names_early=names_early), False
        try:
            begin(folder, FEW, disk)
        except PowerLoss:
            lost = True
        disk.lose_power()
        touched = files(folder, ENTITIES, REKEYING) != whole
        begin(folder, then)
        left = files(folder, ENTITIES, REKEYING)
        if then is FEW:
            assert left == set()
            assert [*(folder / ENTITIES).iterdir()] == []
        for part in (SONG, REKEYING):
            mine = {one for one in whole if one.startswith(part)}
            assert {one for one in left if one.startswith(part)} in (set(), mine), operations
        if touched:
            assert origin_of_rows(folder) != rows, "rows of before are not found"
        removed.add(touched)
        if not lost:
            break
    assert removed == {False, True}


def origin_of_rows(folder: Path) -> str:
    found: str = ROWS_ORIGIN.read(folder).origin
    return found


def test_an_entity_whose_removal_has_begun_is_new_to_what_looks_at_the_state(
    tmp_path: Path,
) -> None:
    made(tmp_path)
    songs = [name for name in KeptDefinitions.read(tmp_path, ALL).tables if "song" in name]
    assert songs
    (tmp_path / SONG / ".removed").touch()
    assert not {*songs} & {*KeptDefinitions.read(tmp_path, ALL).tables}
    assert told(undeclared(tmp_path, ALL)).startswith(f"{SONG} (")
    (tmp_path / REKEYING / ".visits.removed").touch()
    begin(tmp_path, ALL)
    assert files(tmp_path, ENTITIES, REKEYING) == set()


def out_of(folder: Path) -> Callable[[Path], None]:
    """In place of what is there, a link to a place out of the state folder, with what was there."""

    def link(path: Path) -> None:
        path.rename(folder / path.name)
        path.symlink_to(folder / path.name)

    return link


@pytest.mark.parametrize(
    "place",
    [
        ENTITIES,
        SONG,
        f"{SONG}/partition-0.000000000001.snapshot",
        OF_SONG,
        f"{OF_SONG}/plays-0.000000000002.snapshot",
        REKEYING,
        f"{REKEYING}/visits-0.000000000002.snapshot",
    ],
)
def test_a_symbolic_link_is_refused_by_its_name_and_what_it_leads_to_is_kept(
    tmp_path: Path, place: str
) -> None:
    folder, outside = tmp_path / "songs", tmp_path / "outside"
    made(folder)
    outside.mkdir()
    out_of(outside)(folder / place)
    is_refused(folder, folder / place, "a symbolic link, which is not followed", [outside])


def is_refused(folder: Path, place: Path, why: str, besides: Collection[Path] = ()) -> None:
    """A start names `place` and changes nothing."""
    before = [files(one) for one in (folder, *besides)]
    state = StateFolder(folder, "apache")
    with pytest.raises(ConfigError, match=re.escape(why)) as caught:
        state.check(FEW)
    assert caught.value.place == str(place)
    with pytest.raises(ConfigError):
        state.to_remove(FEW)
    assert [files(one) for one in (folder, *besides)] == before


@pytest.mark.parametrize(
    "place",
    [
        f"{ENTITIES}/notes.txt",
        f"{SONG}/notes.txt",
        f"{OF_SONG}/notes.txt",
        f"{OF_SONG}/copies.000000000001.snapshot",
    ],
)
def test_what_no_run_has_written_is_refused_by_its_name(tmp_path: Path, place: str) -> None:
    made(tmp_path)
    (tmp_path / place).write_text("mine")
    is_refused(tmp_path, tmp_path / place, "not of Freshrank")


@pytest.mark.parametrize("place", [f"{ENTITIES}/lost+found", f"{SONG}/mine"])
def test_a_folder_that_no_run_has_made_is_refused_by_its_name(tmp_path: Path, place: str) -> None:
    made(tmp_path)
    (tmp_path / place).mkdir()
    is_refused(tmp_path, tmp_path / place, "not of Freshrank")


def test_a_link_to_what_is_declared_is_no_mistake(tmp_path: Path) -> None:
    """The folder of a large entity may lie on another disk."""
    folder, outside = tmp_path / "songs", tmp_path / "outside"
    made(folder)
    outside.mkdir()
    out_of(outside)(folder / SONG)
    assert begin(folder, ALL) == []
