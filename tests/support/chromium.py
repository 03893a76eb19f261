"""A headless Chromium for tests of the page: the machine's own, or one that was fetched."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from unittest.mock import patch

import pytest
from playwright.sync_api import Browser, sync_playwright

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
FETCHED = Path.home() / ".cache" / "freshrank" / "chromium" / "chromium"
"""Where `scripts/chromium` puts one."""
NODE = FETCHED.parent / "node"
"""What drives it, from the same script: one that was fetched without it is no Chromium."""

# Nothing is asked of another host, and no GPU is needed.
FLAGS = (
    "--disable-gpu", "--disable-background-networking", "--disable-component-update",
    "--disable-sync", "--no-first-run",
)  # fmt: skip


def chromium() -> str | None:
    """The path of a Chromium; None where there is none."""
    own = next((path for name in NAMES if (path := shutil.which(name))), None)
    return own or (str(FETCHED) if FETCHED.is_file() and NODE.is_file() else None)


@contextmanager
def browser() -> Iterator[Browser]:
    """A running Chromium, within the block. Skips the test where there is none."""
    path = chromium()
    if path is None:
        pytest.skip("there is no Chromium on this machine: scripts/chromium fetches one")
    # Of the locale C it would make a language that no browser of a person has.
    surroundings: dict[str, str | float | bool] = {**os.environ, "LANG": "en_US.UTF-8"}
    surroundings.pop("LC_ALL", None)
    nodes: dict[str, str] = {}
    if path == str(FETCHED):
        beside = FETCHED.parent
        nodes["PLAYWRIGHT_NODEJS_PATH"] = str(NODE)
        surroundings["LD_LIBRARY_PATH"] = str(beside / "lib")
        surroundings["FONTCONFIG_FILE"] = str(beside / "fonts" / "fonts.conf")
    with patch.dict(os.environ, nodes), sync_playwright() as playwright:
        running = playwright.chromium.launch(
            executable_path=path, args=list(FLAGS), chromium_sandbox=False, env=surroundings
        )
        try:
            yield running
        finally:
            running.close()
