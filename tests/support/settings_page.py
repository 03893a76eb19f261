"""Writes docs/settings.md out of the settings: run it with ``.venv/bin/python``."""

from __future__ import annotations

import ast
import inspect
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydantic import SecretStr
from pydantic.fields import FieldInfo

from freshrank.actors.settings import Section
from freshrank.deploy.config.settings import Settings

PAGE = Path(__file__).parents[2] / "docs" / "settings.md"

HEAD = """# Settings

`freshrank run` and `freshrank demo` read them from these places; later ones win:

1. the defaults below;
2. a TOML file (`--config shop.toml`) with one table for each section: `[kafka]`, `[redis]`,
   `[shards]`, `[learner]`, `[learner.guard]`, `[serve]`;
3. environment variables: `FRESHRANK_KAFKA__BOOTSTRAP` sets `kafka.bootstrap`;
4. options of the command line: `--kafka`, `--redis`, `--port`.

An unknown name and a value out of its bounds are refused at the start, with the name and the fix.
The unit is the end of the name: `_ms` are milliseconds, `_s` seconds.
"""

TABLE = "| setting | default | meaning |\n|---|---|---|\n"


def page() -> str:
    """The whole page."""
    return HEAD + "".join(section for section in _sections(Settings, ""))


def _sections(settings: type[Section], prefix: str) -> Iterator[str]:
    """The sections of `settings` below `prefix`, each with its own subsections after it."""
    for name, field in settings.model_fields.items():
        kind: Any = field.annotation
        if isinstance(kind, type) and issubclass(kind, Section):
            place = f"{prefix}{name}"
            yield f"\n## `[{place}]`: {_first_line(kind)}\n\n{TABLE}"
            yield "".join(_rows(kind))
            yield from _sections(kind, f"{place}.")


def _rows(section: type[Section]) -> Iterator[str]:
    texts = _texts(section)
    for name, field in section.model_fields.items():
        if not (isinstance(field.annotation, type) and issubclass(field.annotation, Section)):
            yield f"| `{name}` | {_default(field)} | {_bounds(field)}{texts.get(name, '')} |\n"


def _default(field: FieldInfo) -> str:
    value = field.default
    if value is None or isinstance(value, SecretStr) or value == ():
        return "none"
    return f"`{str(value).lower() if isinstance(value, bool) else value}`"


def _bounds(field: FieldInfo) -> str:
    words = {"ge": "at least", "gt": "more than", "le": "at most", "min_length": "at least"}
    units = {"min_length": " characters"}
    found = [
        f"{word} {getattr(one, name):,g}{units.get(name, '')}"
        for one in field.metadata
        for name, word in words.items()
        if getattr(one, name, None) is not None
    ]
    text = " and ".join(found)
    return f"{text[:1].upper()}{text[1:]}. " if text else ""


def _first_line(section: type[Section]) -> str:
    text = inspect.cleandoc(section.__doc__ or "").partition("\n\n")[0]
    return " ".join(text.split()).rstrip(".").replace("The ", "the ", 1)


def _texts(section: type[Section]) -> dict[str, str]:
    """By field: the text below it in the source."""
    found: dict[str, str] = {}
    for one in reversed([kind for kind in section.__mro__ if issubclass(kind, Section)]):
        if one is not Section:
            found |= _texts_of(one)
    return found


def _texts_of(section: type[Section]) -> dict[str, str]:
    (tree,) = ast.parse(textwrap.dedent(inspect.getsource(section))).body
    assert isinstance(tree, ast.ClassDef)
    found = {}
    for field, after in zip(tree.body, tree.body[1:], strict=False):
        match field, after:
            case ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(
                value=ast.Constant(value=str(text))
            ):
                found[name] = " ".join(text.split()).replace("``", "`").replace("|", "\\|")
    return found


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
