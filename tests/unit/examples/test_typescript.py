"""The packages of the TypeScript example: pinned, checked, and of no registry in particular."""

from __future__ import annotations

import json
import re
from typing import Any

from node import EXAMPLE

PROJECT = json.loads((EXAMPLE / "package.json").read_text(encoding="utf-8"))
LOCK = json.loads((EXAMPLE / "package-lock.json").read_text(encoding="utf-8"))


def direct() -> dict[str, str]:
    found: dict[str, str] = {**PROJECT["dependencies"], **PROJECT["devDependencies"]}
    return found


def locked() -> dict[str, Any]:
    return {path: one for path, one in LOCK["packages"].items() if path}


def test_what_the_example_names_is_what_the_lock_has() -> None:
    whole = LOCK["packages"][""]
    assert {**whole["dependencies"], **whole["devDependencies"]} == direct()
    for name, version in direct().items():
        assert re.fullmatch(r"\d+\.\d+\.\d+", version), name
        assert locked()[f"node_modules/{name}"]["version"] == version


def test_the_lock_has_checksums_and_names_no_registry() -> None:
    for path, one in locked().items():
        assert one["integrity"].startswith("sha512-"), path
        assert "resolved" not in one, path
    settings = (EXAMPLE / ".npmrc").read_text(encoding="utf-8")
    assert "omit-lockfile-registry-resolved=true" in settings
    assert "://" not in settings
