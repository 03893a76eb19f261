"""Node, and the packages of `examples/typescript`, for tests of what is not written in Python.

What cannot be fetched skips the test, and fails it where CI is set.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
EXAMPLE = ROOT / "examples" / "typescript"
_SCRIPT = ROOT / "scripts" / "node"

# Seconds for what takes a few on an idle machine, the first time with a network that is slow.
_PATIENCE_S = 300.0
# What the sources of the example are; the rest of its folder is made by commands.
_SOURCES = ("*.ts", "*.json", ".npmrc")
# Without a network it would try for a minute.
_FETCH = (
    "npm", "ci", "--ignore-scripts", "--prefer-offline", "--no-audit", "--no-fund",
    "--fetch-retry-mintimeout=500", "--fetch-retry-maxtimeout=2000",
)  # fmt: skip


def node() -> list[str | Path]:
    """The command that runs Node: the machine's own, or one that is fetched."""
    own = shutil.which("node")
    if own is not None:
        return [own]
    _check(_run("node", "--version"))
    return [_SCRIPT, "node"]


class NodeProject:
    """A copy of the example in `folder`, with its packages."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        made = ("freshrank.d.ts", "openapi.json")
        for pattern in _SOURCES:
            for file in EXAMPLE.glob(pattern):
                if file.name not in made:
                    shutil.copy(file, folder)
        for command in (("node", "--version"), _FETCH):
            _check(self.run(*command))

    def run(
        self, *command: str, environment: Mapping[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Run a program of Node's in the folder, to its end."""
        return _run(*command, folder=self.folder, environment=environment)


def _run(
    *command: str, folder: Path = ROOT, environment: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [_SCRIPT, *command],
        cwd=folder,
        env={**os.environ, **(environment or {})},
        check=False,
        capture_output=True,
        text=True,
        timeout=_PATIENCE_S,
    )


def _check(done: subprocess.CompletedProcess[str]) -> None:
    if done.returncode == 0:
        return
    missing = f"{' '.join(map(str, done.args))}: {done.stdout}{done.stderr}"
    if os.environ.get("CI"):
        pytest.fail(f"tests with Node are needed where CI is set: {missing}")
    pytest.skip(f"Node or its packages cannot be fetched here: {missing}")
