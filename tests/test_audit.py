"""`scripts/audit` is green only where every pinned package was really looked up."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parent.parent

# Stands in for pip-audit: it writes a report where there is one, and ends as it is told.
FAKE = """
import sys
from pathlib import Path
report, status = sys.argv[1], int(sys.argv[2])
if report:
    Path(sys.argv[sys.argv.index("--output") + 1]).write_text(report)
sys.exit(status)
"""

SOUND: dict[str, Any] = {"name": "redis", "version": "8.1.0", "vulns": []}
VULNERABLE: dict[str, Any] = {
    "name": "torch", "version": "2.13.0",
    "vulns": [{"id": "CVE-2026-1", "fix_versions": ["2.13.1"]}],
}  # fmt: skip
SKIPPED: dict[str, Any] = {"name": "numpy", "skip_reason": "Dependency not found on PyPI"}


def audit(tmp_path: Path, report: str, status: int) -> subprocess.CompletedProcess[str]:
    fake = tmp_path / "fake.py"
    fake.write_text(FAKE)
    command = f"{sys.executable} {fake} '{report}' {status}"
    return subprocess.run(
        [sys.executable, str(ROOT / "scripts" / "audit")], capture_output=True, text=True,
        check=False, env={**os.environ, "AUDIT": command},
    )  # fmt: skip


def report(*dependencies: dict[str, Any]) -> str:
    return json.dumps({"dependencies": dependencies, "fixes": []})


def test_all_packages_looked_up_and_sound_is_a_success(tmp_path: Path) -> None:
    done = audit(tmp_path, report(SOUND), 0)
    assert done.returncode == 0
    assert "no known vulnerability" in done.stdout


def test_a_vulnerable_package_is_named_with_its_fix(tmp_path: Path) -> None:
    done = audit(tmp_path, report(SOUND, VULNERABLE, SKIPPED), 1)
    assert done.returncode == 1
    assert "torch: CVE-2026-1, fixed in 2.13.1" in done.stdout


@pytest.mark.parametrize(
    ("text", "status"),
    [
        # Behind a mirror without PyPI's advisories pip-audit 2.10 says that no vulnerability is
        # known, and ends with status 0.
        (report(SKIPPED, SKIPPED), 0),
        (report(SOUND, SKIPPED), 0),
        (report(), 0),
        ("", 1),
        ("", 0),
        ("not JSON", 0),
    ],
)
def test_what_could_not_be_looked_up_is_said_and_is_no_success(
    tmp_path: Path, text: str, status: int
) -> None:
    done = audit(tmp_path, text, status)
    assert done.returncode == 3
    assert done.stderr.startswith("NOT AUDITED")
    assert "no known vulnerability" not in done.stdout
