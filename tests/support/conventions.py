"""What CONTRIBUTING promises of every file, read from the source text alone.

Each function takes the repository's root and returns what breaks its rule, as ``file:line: what``.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from layers import MAY_IMPORT

FOLDERS = tuple(MAY_IMPORT)

# A file and a function are shorter than this, in lines; a docstring does not count for a function.
FILE_LINES, FUNCTION_LINES = 300, 40

# `x._name`, but neither `x.__name__` nor a test's own `self._name`.
_PRIVATE = re.compile(r"_[a-z]\w*", re.IGNORECASE)
_OWN = {"self", "cls"}
# Functions of the standard library and of pytest that take the name of an attribute.
_BY_NAME = {"getattr", "setattr", "hasattr", "delattr", "patch", "object", "attrgetter"}
# Public, though they begin with an underscore: methods of every namedtuple.
_PUBLIC = {"_fields", "_replace", "_asdict", "_make"}

# Calls that fail the test unless something holds.
_ASSERTING = re.compile(r"pytest\.(raises|warns|fail)|np\.testing\.assert_\w+")

# Spelt so that this file does not hold what it looks for.
_LEFT_OVER = re.compile("T[O]DO|F[I]XME|X[X]X")


def too_long(root: Path) -> list[str]:
    """Files and functions of the product that are too long."""
    found = []
    for path in _sources(root, FOLDERS):
        name, text = path.relative_to(root).as_posix(), path.read_text(encoding="utf-8")
        lines = text.count("\n")
        if lines >= FILE_LINES:
            found.append(f"{name}:1: {lines} lines")
        for function in _functions(ast.parse(text)):
            if (length := _length(function)) >= FUNCTION_LINES:
                found.append(f"{name}:{function.lineno}: {function.name} has {length} lines")
    return found


def twice_named(root: Path) -> list[str]:
    """Classes of the product, private ones too, whose name another class has.

    Examples are files of users, each of which is read by itself.
    """
    first: dict[str, str] = {}
    found = []
    for path in _sources(root, sorted({*FOLDERS} - {"examples"})):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ClassDef):
                place = f"{path.relative_to(root).as_posix()}:{node.lineno}"
                if node.name in first:
                    found.append(f"{place}: {node.name} stands in {first[node.name]}, too")
                first.setdefault(node.name, place)
    return found


def private_names(root: Path) -> list[str]:
    """Where a test imports a private name, reads one of another object, or names one in a string.

    Ruff's SLF001 sees the second kind only.
    """
    return [
        f"{path.relative_to(root).as_posix()}:{line}: {name}"
        for path in _sources(root, ["tests"])
        for line, name in _private_names(ast.parse(path.read_text(encoding="utf-8")))
    ]


def without_assertion(root: Path) -> list[str]:
    """Tests that cannot fail but by an error: neither they nor a helper that they call assert.

    A helper is a function of the same file or of tests/support.
    """
    shared = [one for path in _sources(root, ["tests/support"]) for one in _calls_of(path)]
    found = []
    for path in _sources(root, ["tests"]):
        own = _calls_of(path)
        asserting = _asserting([*shared, *own])
        found += [
            f"{path.relative_to(root).as_posix()}:{one.line}: {one.name}"
            for one in own
            if one.name.startswith("test_") and not (one.asserts or one.calls & asserting)
        ]
    return found


def left_over(root: Path) -> list[str]:
    """Marks of work that is not done."""
    return [
        f"{path.relative_to(root).as_posix()}:{number}: {mark[0]}"
        for path in _sources(root, [*FOLDERS, "tests", "scripts", "docs"], "*")
        if path.suffix in {"", ".py", ".md", ".js", ".css", ".html", ".toml"}
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        if (mark := _LEFT_OVER.search(line))
    ]


def _sources(root: Path, folders: Iterable[str], pattern: str = "*.py") -> Iterator[Path]:
    for folder in folders:
        for path in sorted((root / folder).rglob(pattern)):
            if path.is_file() and "__pycache__" not in path.parts:
                yield path


Function = ast.FunctionDef | ast.AsyncFunctionDef


def _functions(tree: ast.AST) -> Iterator[Function]:
    for node in ast.walk(tree):
        if isinstance(node, Function):
            yield node


def _length(function: Function) -> int:
    """Lines from the ``def`` to the end, without the docstring."""
    assert function.end_lineno is not None
    length = function.end_lineno - function.lineno + 1
    if ast.get_docstring(function, clean=False) is not None:
        docstring = function.body[0]
        assert docstring.end_lineno is not None
        length -= docstring.end_lineno - docstring.lineno + 1
    return length


def _private_names(tree: ast.AST) -> Iterator[tuple[int, str]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and _private(node.attr):
            if not (isinstance(node.value, ast.Name) and node.value.id in _OWN):
                yield node.lineno, ast.unparse(node)
        elif isinstance(node, ast.ImportFrom):
            for alias in node.names:
                if _private(alias.name):
                    yield node.lineno, f"{node.module}.{alias.name}"
        elif isinstance(node, ast.Call) and _last_name(node.func) in _BY_NAME:
            for value in node.args:
                text = value.value if isinstance(value, ast.Constant) else None
                if isinstance(text, str) and _private(text.rpartition(".")[2]):
                    yield node.lineno, text


def _private(name: str) -> bool:
    return _PRIVATE.fullmatch(name) is not None and name not in _PUBLIC


def _last_name(node: ast.expr) -> str | None:
    """``c`` of ``c`` and of ``a.b.c``."""
    if isinstance(node, ast.Attribute):
        return node.attr
    return node.id if isinstance(node, ast.Name) else None


@dataclass(frozen=True, slots=True)
class _Calls:
    """A function, and what it does."""

    name: str
    line: int
    asserts: bool
    """Itself, by a statement or by a call of pytest or NumPy."""
    calls: frozenset[str | None]
    """The last names of what it calls."""


def _calls_of(path: Path) -> list[_Calls]:
    """The functions of a file, those within others and the methods of its classes too."""
    found = []
    for function in _functions(ast.parse(path.read_text(encoding="utf-8"))):
        nodes = list(ast.walk(function))
        called = [node.func for node in nodes if isinstance(node, ast.Call)]
        asserts = any(isinstance(node, ast.Assert) for node in nodes) or any(
            _ASSERTING.fullmatch(ast.unparse(one)) for one in called
        )
        calls = frozenset(map(_last_name, called))
        found.append(_Calls(function.name, function.lineno, asserts, calls))
    return found


def _asserting(functions: Sequence[_Calls]) -> set[str | None]:
    """Names of those that assert, or call one that does."""
    found: set[str | None] = {one.name for one in functions if one.asserts}
    while more := {one.name for one in functions if one.calls & found} - found:
        found |= more
    return found
