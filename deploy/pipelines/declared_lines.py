"""Where a pipeline's file declares what an error is about."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

# The beginning of an error's place: ``Listening.taste`` or ``Pipeline('songs').label``.
_PLACE = re.compile(r"(?P<name>\w+)(\('(?P<first>[^']*)'\))?\.(?P<part>\w+)")


def declared_line(text: str, place: str) -> int | None:
    r"""The line of `text`, a module, that declares what an error at `place` is about.

    That is the attribute of a class, or the keyword of a call whose first argument the place names;
    None where the text has none such, or several.

    >>> text = "class Listening(View):\n    entity = listener\n    taste = Count(where=5)\n"
    >>> declared_line(text, "Listening.taste.where")
    3
    >>> declared_line("Pipeline(\n    'songs',\n    label=5,\n)", "Pipeline('songs').label.on")
    3
    >>> declared_line(text, "Pipeline('songs').label")
    """
    found = _PLACE.match(place)
    if found is None:
        return None
    tree = ast.parse(text)
    if found["first"] is None:
        lines = list(_attributes(tree, found["name"], found["part"]))
    else:
        lines = list(_keywords(tree, found["name"], found["first"], found["part"]))
    return lines[0] if len(lines) == 1 else None


def _attributes(tree: ast.AST, name: str, attribute: str) -> Iterator[int]:
    for node in ast.walk(tree):
        if not (isinstance(node, ast.ClassDef) and node.name == name):
            continue
        for one in node.body:
            targets = one.targets if isinstance(one, ast.Assign) else []
            if attribute in [target.id for target in targets if isinstance(target, ast.Name)]:
                yield one.lineno


def _keywords(tree: ast.AST, name: str, first: str, keyword: str) -> Iterator[int]:
    for node in ast.walk(tree):
        if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Name)):
            continue
        if node.func.id != name or not node.args:
            continue
        given = node.args[0]
        if isinstance(given, ast.Constant) and given.value == first:
            yield from (one.lineno for one in node.keywords if one.arg == keyword)
