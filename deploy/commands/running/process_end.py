"""The end of this process where its threads or its event loop would not let it end by itself."""

from __future__ import annotations

import os
import sys
from typing import NoReturn

from freshrank.actors.errors import ConfigError
from freshrank.deploy.cluster import ray_processes


def end_blocked(reason: str) -> None:
    """End this process at once, and what it has started, while its event loop is blocked."""
    sys.stderr.write(f"error: {reason}\n")
    sys.stderr.flush()
    ray_processes.kill_left()
    os._exit(1)


def exit_now(failure: BaseException | None) -> NoReturn:
    """End this process at once, whatever its threads do; the kernel ends its children."""
    if failure is not None:
        sys.stderr.write(f"error: {failure}\n")
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0 if failure is None else 2 if isinstance(failure, ConfigError) else 1)
