"""Environments of their own for what other projects' code needs: made by pip, once.

The scripts beside this module use it from their `main`: Python has their folder on its path then.
"""

from __future__ import annotations

import os
import subprocess
import sys
import venv
from pathlib import Path

FOLDER = Path.home() / ".cache" / "freshrank"
"""Where environments are, unless the command line names another place."""


def python_of(environment: Path, requirements: Path) -> Path:
    """The Python of the environment, which is made where it is not there yet.

    Raises CalledProcessError where pip cannot install what the file `requirements` names.
    """
    python, done = environment / "bin" / "python", environment / "installed.txt"
    wanted = requirements.read_text(encoding="utf-8")
    if not done.exists() or done.read_text(encoding="utf-8") != wanted:
        venv.create(environment, with_pip=True, clear=True)
        install = [str(python), "-m", "pip", "install", "--quiet", "-r", str(requirements)]
        subprocess.run(install, check=True)
        done.write_text(wanted, encoding="utf-8")
    return python


def enter(environment: Path, requirements: Path, script: str) -> None:
    """Go on by the Python of the environment: `script` begins again there, with its arguments."""
    if Path(sys.prefix) != environment.absolute():
        python = str(python_of(environment.absolute(), requirements))
        os.execv(python, [python, str(Path(script).resolve()), *sys.argv[1:]])
