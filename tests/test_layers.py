"""The repository keeps to its layers; that a break is seen is tested in test_gates.py."""

from __future__ import annotations

from pathlib import Path

from layers import HOMES, MAY_IMPORT, ORDER, WITH_HOMES, breaks, imports
from unpickling import FOLDERS, unpickles

ROOT = Path(__file__).parent.parent


def test_the_layers_are_kept() -> None:
    assert breaks(ROOT) == []


def test_every_name_in_the_order_is_there() -> None:
    for top, order in ORDER.items():
        rooms = order.split()
        assert len(rooms) == len(set(rooms))
        for room in rooms:
            folder = ROOT / top / room
            assert folder.is_dir() or folder.with_suffix(".py").exists(), f"{top}/{room}"


def test_nothing_from_outside_is_unpickled() -> None:
    assert all(list((ROOT / folder).glob("*.py")) for folder in FOLDERS)
    assert unpickles(ROOT) == []


def test_ray_is_imported_in_few_files_and_they_exist() -> None:
    users = {
        path.relative_to(ROOT).as_posix()
        for folder in WITH_HOMES
        for path in (ROOT / folder).rglob("*.py")
        if any(module.partition(".")[0] == "ray" for _, module in imports(path))
    }
    assert users == set(HOMES["ray"])


def test_every_layer_is_linked_into_the_one_import_package() -> None:
    for folder in MAY_IMPORT:
        link = ROOT / "freshrank" / folder
        assert link.is_symlink(), folder
        assert link.resolve() == ROOT / folder
