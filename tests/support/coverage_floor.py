"""Hold the coverage of the tests: fewer of the lines or branches run than before is an error.

Run with the path of a report of ``coverage json``; prints the figures.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

# Percent of lines and of branches, by folder; "" stands for all folders without a floor of their
# own. Raise a floor when the figure has risen for good. What a bench does with a running system
# is run by `freshrank bench` and not by tests.
FLOORS = {"": (95.0, 90.0), "benchmarks": (78.0, 70.0)}


@dataclass
class Measured:
    """Lines and branches of some files: how many there are, and how many of them were run."""

    lines: int = 0
    lines_run: int = 0
    branches: int = 0
    branches_run: int = 0

    def add(self, summary: Mapping[str, int]) -> None:
        self.lines += summary["num_statements"]
        self.lines_run += summary["covered_lines"]
        self.branches += summary["num_branches"]
        self.branches_run += summary["covered_branches"]

    @property
    def percent(self) -> tuple[float, float]:
        """Of lines and of branches."""
        return (
            100.0 * self.lines_run / max(1, self.lines),
            100.0 * self.branches_run / max(1, self.branches),
        )


def measured(report: Mapping[str, Any]) -> dict[str, Measured]:
    """By folder, as `FLOORS` has them."""
    found = {folder: Measured() for folder in FLOORS}
    for file, of_file in report["files"].items():
        folder = file.partition("/")[0]
        found[folder if folder in FLOORS else ""].add(of_file["summary"])
    return found


def main(path: Path) -> int:
    """Print the figures; gives 1 where one is below its floor."""
    status = 0
    for folder, figures in measured(json.loads(path.read_text(encoding="utf-8"))).items():
        for what, percent, floor in zip(
            ("lines", "branches"), figures.percent, FLOORS[folder], strict=True
        ):
            too_few = percent < floor
            status |= too_few
            print(
                f"coverage of {folder or 'the product'}: {percent:.2f} % of {what}, "
                f"{'and it has to be' if too_few else 'of'} at least {floor} %"
            )
    return status


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
