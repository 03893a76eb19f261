"""A state folder is free again as soon as the run that held it is dead, however it died."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from freshrank.actors.errors import ConfigError
from freshrank.deploy.state.state_folder import StateFolder

# Holds the folder, and has started a program that outlives it.
_HOLDER = """
import subprocess, sys
from pathlib import Path
from freshrank.deploy.state.state_folder import StateFolder
with StateFolder(Path(sys.argv[1]), "apache").held():
    child = subprocess.Popen(["sleep", "60"], stdout=subprocess.DEVNULL, close_fds=False)
    print(child.pid, flush=True)
    sys.stdin.read()
"""


def test_a_killed_run_leaves_the_folder_to_the_next_though_its_children_live(
    tmp_path: Path,
) -> None:
    state = StateFolder(tmp_path, "apache")
    command = [sys.executable, "-c", _HOLDER, str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        child = int(holder.stdout.readline())
        try:
            with pytest.raises(ConfigError, match=f"process {holder.pid} of "), state.held():
                pytest.fail("two processes hold one folder")
            holder.kill()
            assert holder.wait() == -signal.SIGKILL
            with state.held():
                os.kill(child, 0)  # raises where it is gone
        finally:
            os.kill(child, signal.SIGKILL)
