"""The figures of a bench, by their names."""

from __future__ import annotations

from collections.abc import Sequence

from freshrank.benchmarks.report import Figure


def by_name(figures: Sequence[Figure]) -> dict[str, Figure]:
    found = {figure.name: figure for figure in figures}
    assert len(found) == len(figures), "two figures have the same name"
    return found
