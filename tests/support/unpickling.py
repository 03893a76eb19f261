"""Where a source text reads what may run code while it is read: pickles, under any name.

Between the processes of a cluster Ray pickles, behind its token. What lies in files or comes from
a topic or a request is never pickled. Found by what is imported and called; what is put together
at run time (`getattr`, `importlib`) escapes.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

from layers import MAY_IMPORT, imports

# Modules whose business it is.
MODULES = {"pickle", "cPickle", "_pickle", "cloudpickle", "dill", "joblib", "marshal", "shelve"}

# What pickles behind another name. `torch.load` does so even with `weights_only`, in part.
CALLS = {"torch.load", "numpy.load", "np.load", "pandas.read_pickle", "pd.read_pickle"}
_LAST_NAMES = {call.rpartition(".")[2] for call in CALLS}

FOLDERS = tuple(MAY_IMPORT)


def unpickles(root: Path) -> list[str]:
    """Every place below the package's folders in `root`, as ``file:line: what``."""
    return [
        f"{path.relative_to(root).as_posix()}:{line}: {what}"
        for folder in FOLDERS
        for path in sorted((root / folder).rglob("*.py"))
        for line, what in _of(path)
    ]


def _of(path: Path) -> Iterator[tuple[int, str]]:
    for line, module in imports(path):
        if MODULES & set(module.split(".")):
            yield line, module
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom):
            for alias in node.names:
                if alias.name in MODULES or f"{node.module}.{alias.name}" in CALLS:
                    yield node.lineno, f"{node.module}.{alias.name}"
        elif isinstance(node, ast.Attribute):
            called = node.attr in _LAST_NAMES and ast.unparse(node) in CALLS
            if called or node.attr in MODULES:
                yield node.lineno, ast.unparse(node)
        elif isinstance(node, ast.keyword) and node.arg == "allow_pickle":
            yield node.value.lineno, "allow_pickle"
