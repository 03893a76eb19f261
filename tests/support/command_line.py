"""Calls of the command line within this process."""

from __future__ import annotations

import sys
from collections.abc import Sequence

import pytest

from freshrank.deploy import cli


def call(
    arguments: Sequence[str], capsys: pytest.CaptureFixture[str], patch: pytest.MonkeyPatch
) -> tuple[object, str]:
    """Run ``freshrank`` with `arguments`; gives its exit status, and what it said of an error."""
    patch.setattr(sys, "argv", ["freshrank", *arguments])
    try:
        cli.main()
    except SystemExit as ended:
        return ended.code, capsys.readouterr().err
    return 0, capsys.readouterr().err
