"""The distribution: each module in it once, under its one name, and it works when installed."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
import zipfile
from collections import Counter
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
FOLDERS = ("actors", "feature_actors", "learner", "serve", "deploy", "examples", "benchmarks")
FILES = ("pyproject.toml", "README.md", "LICENSE")


def run(*command: str | Path, cwd: Path) -> str:
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from a copy, so that nothing is left in the checkout."""
    copy = tmp_path_factory.mktemp("source")
    for folder in (*FOLDERS, "freshrank"):
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / folder, copy / folder, symlinks=True, ignore=ignored)
    for file in FILES:
        shutil.copy(ROOT / file, copy / file)
    # With the build tool of this environment: the test must not need the network.
    uv = Path(sys.executable).with_name("uv")
    run(uv, "build", "--wheel", "--no-build-isolation", "--python", sys.executable, cwd=copy)
    (built,) = (copy / "dist").glob("*.whl")
    return built


def test_the_wheel_holds_every_module_once_and_nothing_else(wheel: Path) -> None:
    names = [name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name]
    assert [name for name, count in Counter(names).items() if count > 1] == []
    sources = {
        f"freshrank/{path.relative_to(ROOT).as_posix()}"
        for folder in FOLDERS
        for path in (ROOT / folder).rglob("*")
        if "typescript" not in path.parts  # an example of another language, with what npm fetched
        and path.suffix in {".py", ".html", ".css", ".js", ".svg", ".txt"}
    }
    assert set(names) == sources | {"freshrank/__init__.py", "freshrank/py.typed"}


def test_the_installed_wheel_runs_without_the_checkout(wheel: Path, tmp_path: Path) -> None:
    uv = Path(sys.executable).with_name("uv")
    run(uv, "venv", "--python", sys.executable, "fresh", cwd=tmp_path)
    python = tmp_path / "fresh" / "bin" / "python"
    run(uv, "pip", "install", "--python", python, "--no-deps", wheel, cwd=tmp_path)
    # The libraries of this environment, but not its editable freshrank: path files within a
    # folder that was itself named by one are not read.
    own = run(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))", cwd=tmp_path)
    (Path(own.strip()) / "libraries.pth").write_text(sysconfig.get_path("purelib"))
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    where = "import freshrank, freshrank.serve.app as app; print(freshrank.__file__, app.__file__)"
    commands: list[list[str | Path]] = [
        [python, "-c", where],
        [python.with_name("freshrank"), "version"],
        # Commands that come as entry points.
        [python.with_name("freshrank"), "demo", "--help"],
        [python.with_name("freshrank"), "bench", "--help"],
    ]
    for command in commands:
        done = subprocess.run(
            command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        assert str(ROOT) not in done.stdout
        assert "freshrank" in done.stdout
