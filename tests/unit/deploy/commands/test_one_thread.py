"""NumPy's matrices are multiplied by one thread: the command line says so before it is imported."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from freshrank.deploy import cli

THREADS = "OPENBLAS_NUM_THREADS"


@pytest.mark.parametrize(("given", "expected"), [(None, "1"), ("4", "4")])
def test_a_command_uses_one_thread_unless_it_is_told_otherwise(
    given: str | None, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[str | None] = []
    monkeypatch.setattr(cli, "app", lambda: seen.append(os.environ.get(THREADS)))
    monkeypatch.setenv(THREADS, given or "")
    if given is None:
        monkeypatch.delenv(THREADS)
    cli.main()
    assert seen == [expected]


def test_the_command_line_alone_does_not_import_numpy() -> None:
    program = "import sys, freshrank.deploy.cli; sys.exit('numpy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
