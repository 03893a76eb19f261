"""HAProxy as a test starts it: by the program that Ray is given in its place."""

from __future__ import annotations

from pathlib import Path

from freshrank.serve.proxy.haproxy_starter import write_starter


def haproxy_starter(folder: Path) -> str:
    """The path of that program, written into `folder`."""
    path = folder / "haproxy"
    write_starter(path)
    return str(path)
