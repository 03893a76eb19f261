"""How the tables show a figure, and how the figures of their cells are named."""

from __future__ import annotations

import re

from freshrank.benchmarks.report import Figure


def slug(*parts: str) -> str:
    """The parts of a name as one, in lower case.

    >>> slug("scale", "FTRL", "1e3 + 100x")
    'scale_ftrl_1e3_100x'
    """
    return re.sub(r"[^a-z0-9]+", "_", " ".join(parts).lower()).strip("_")


def shown(figure: Figure, text: str | None = None) -> str:
    """The value, or `text` in its place, as a table of rich shows it; marked where it is missed.

    >>> shown(Figure("auc", 0.8456, "1", "higher", 0.84)), shown(Figure("lost", 1, "1", "lower", 0))
    ('0.846', '[bold red]1.000 ✗[/]')
    """
    text = f"{figure.value:.3f}" if text is None else text
    return f"[bold red]{text} ✗[/]" if figure.met is False else text
