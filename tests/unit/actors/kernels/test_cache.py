"""The cache of compiled kernels sees every change of what a kernel is made of."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import freshrank
from freshrank.actors.kernels.cache import cache_folder, cache_name

FACTOR = "FACTOR = 2\n"
INNER = """\
from freshrank.actors.factor import FACTOR
from freshrank.actors.kernels.compile import subkernel

@subkernel
def multiply(number):
    return FACTOR * number
"""
OUTER = """\
from freshrank.actors.inner import multiply
from freshrank.actors.kernels.compile import lean_kernel

@lean_kernel
def outer(number):
    return multiply(number) + 1

if __name__ == "__main__":
    print(outer(10), "from the cache" if outer.stats.cache_hits else "compiled")
"""

# Functions that LLVM does not copy into their callers, and two kernels, each with its own.
CLOSURES = """\
import sys

import numpy as np

from freshrank.actors.kernels.compile import lean_kernel, subkernel

def adding(number):
    @subkernel
    def add(numbers):
        for i in range(len(numbers)):
{branches}
            numbers[i] += number
    return add

one, hundred = adding(1.0), adding(100.0)

@lean_kernel
def add_ones(numbers):
    one(numbers)
    one(numbers)
    one(numbers)

@lean_kernel
def add_hundreds(numbers):
    hundred(numbers)
    hundred(numbers)
    hundred(numbers)

for name in sys.argv[1:]:
    numbers = np.zeros(1)
    globals()[name](numbers)
    print(numbers[0])
""".format(
    branches="\n".join(
        f"            if numbers[i] < -{k}.0:\n                numbers[i] = {k}.0 / numbers[i]"
        for k in range(1, 60)
    )
)


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """A copy of the package with a kernel, a function that it calls and a constant of that."""
    copied = tmp_path / "freshrank"
    source = Path(freshrank.__file__).parent / "actors"
    shutil.copytree(source, copied / "actors", ignore=shutil.ignore_patterns("__pycache__"))
    (copied / "__init__.py").write_text("")
    texts = {"factor": FACTOR, "inner": INNER, "outer": OUTER, "other": "", "closures": CLOSURES}
    for name, text in texts.items():
        (copied / "actors" / f"{name}.py").write_text(text)
    return copied


def edit(package: Path, name: str, was: str, now: str) -> None:
    path = package / "actors" / f"{name}.py"
    text = path.read_text()
    assert was in text
    path.write_text(text.replace(was, now))


def run(package: Path, *command: str, **environment: str) -> str:
    """What a module prints in a new process: the kernel's number and whether it was compiled."""
    ran = subprocess.run(
        [sys.executable, "-m", *(command or ("freshrank.actors.outer",))],
        cwd=package.parent,
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1", **environment},
        capture_output=True,
        text=True,
        check=True,
    )
    return ran.stdout.strip()


def test_an_edit_of_a_called_function_is_seen_and_no_edit_compiles_nothing(package: Path) -> None:
    assert run(package) == "21 compiled"
    edit(package, "inner", "FACTOR * number", "FACTOR * number + 100")
    edit(package, "factor", "2", "3")
    assert run(package) == "131 compiled"
    assert run(package) == "131 from the cache"


def test_kernels_that_two_processes_compiled_call_their_own_closures(package: Path) -> None:
    closures = "freshrank.actors.closures"
    assert run(package, closures, "add_ones") == "3.0"
    assert run(package, closures, "add_hundreds") == "300.0"
    assert run(package, closures, "add_ones", "add_hundreds").split() == ["3.0", "300.0"]
    assert run(package, closures, "add_hundreds", "add_ones").split() == ["300.0", "3.0"]


def test_kernels_run_where_no_folder_can_be_written_to(package: Path) -> None:
    assert run(package, NUMBA_CACHE_DIR=str(package / "__init__.py")) == "21 compiled"


def test_the_name_depends_on_numba_and_on_what_kernels_import_only(package: Path) -> None:
    names = [cache_name(package, "0.61.0"), cache_name(package, "0.62.0")]
    edit(package, "other", "", "EDITED = 1")
    assert cache_name(package, "0.61.0") == names[0]
    for module in ("messages/__init__", "messages/arrays", "factor", "inner", "outer"):
        edit(package, module, "\n", "\n\n")
        names.append(cache_name(package, "0.61.0"))
    assert len(set(names)) == 7


@pytest.mark.parametrize(
    "line",
    [
        "from freshrank.actors import other",
        "from freshrank.actors import (\n    errors,\n    other as o,\n)",
        "import freshrank.actors.other",
        "from freshrank.actors.other import NUMBER",
    ],
)
def test_every_way_to_import_is_followed(package: Path, line: str) -> None:
    edit(package, "factor", FACTOR, f"{line}\n{FACTOR}")
    name = cache_name(package, "0.61.0")
    edit(package, "other", "", "NUMBER = 1")
    assert cache_name(package, "0.61.0") != name


def test_a_package_that_is_read_only_has_its_cache_in_the_users(
    package: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("NUMBA_CACHE_DIR", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    inside = package / "actors" / "kernels" / "__pycache__"
    assert cache_folder(package) == inside / (cache_folder(package) or inside).name
    shutil.rmtree(inside)
    inside.write_text("a file where the folder should be: as if it could not be written to")
    assert (cache_folder(package) or inside).parent == tmp_path / "cache" / "freshrank"
    monkeypatch.setenv("XDG_CACHE_HOME", str(inside))
    assert cache_folder(package) is None


def test_old_folders_are_removed_when_a_new_one_is_made(
    package: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path / "cache"))
    kept = cache_folder(package)
    used: list[Path | None] = []
    for age in range(1, 9):
        factor = package / "actors" / "factor.py"
        factor.write_text(FACTOR)
        assert cache_folder(package) == kept  # used again and again
        factor.write_text(f"FACTOR = {age + 2}\n")
        used.append(cache_folder(package))
        for folder in (tmp_path / "cache").iterdir():  # time goes on
            os.utime(folder, (0, folder.stat().st_mtime - 60))
    assert {kept, *used[-3:]} == set((tmp_path / "cache").iterdir())
