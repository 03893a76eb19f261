"""Values of a TOML file and of environment variables; what is wrong is told by its place."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo

from freshrank.actors.errors import ConfigError

M = TypeVar("M", bound=BaseModel)

_PREFIX = "FRESHRANK_"

# Keys whose value no message shows, and the kinds of problem that concern a section as a whole.
_SECRET = {"url", "password"}
_OF_SECTIONS = {"model_type", "value_error"}

# Variables of that prefix which are no settings: which Python scripts/install takes.
_OTHERS = {"FRESHRANK_PYTHON"}


def read(model: type[M], path: Path | None, environment: Mapping[str, str]) -> M:
    """`model` with the values of the file, and over them those of the environment.

    A variable ``FRESHRANK_A__B`` is the key ``b`` of the table ``[a]``. Raises ConfigError naming
    the key and where it stands.
    """
    values = _from_file(path) if path else {}
    places = {key: str(path) for key in _leaves(values)}
    for variable, value in environment.items():
        if variable.startswith(_PREFIX) and variable not in _OTHERS:
            keys = tuple(variable.removeprefix(_PREFIX).lower().split("__"))
            places[keys] = variable
            try:
                _put(values, keys, value)
            except KeyError as error:
                named = (name for name, field in model.model_fields.items() if _section(field))
                known = f"Known: {', '.join(named)}."
                raise ConfigError(variable, f"{error} is not a section", known) from error
    try:
        return model.model_validate(values)
    except ValidationError as error:
        raise _first_problem(model, error, places) from error


def _from_file(path: Path) -> dict[str, object]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(
            str(path), f"cannot be read: {error.strerror}", "Give a TOML file."
        ) from (error)
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(str(path), f"is not TOML: {error}", "Mend that line.") from error


def _leaves(values: Mapping[str, object], above: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    found: list[tuple[str, ...]] = []
    for key, value in values.items():
        found += [
            (*above, key),
            *(_leaves(value, (*above, key)) if isinstance(value, dict) else []),
        ]
    return found


def _put(values: dict[str, object], keys: tuple[str, ...], value: str) -> None:
    """Set one nested value; raises KeyError with the key that is taken for a section."""
    for key in keys[:-1]:
        inner = values.setdefault(key, {})
        if not isinstance(inner, dict):
            raise KeyError(key)
        values = inner
    values[keys[-1]] = value


def _section(field: FieldInfo) -> type[BaseModel] | None:
    kind = field.annotation
    return kind if isinstance(kind, type) and issubclass(kind, BaseModel) else None


def _first_problem(
    model: type[BaseModel], error: ValidationError, places: Mapping[tuple[str, ...], str]
) -> ConfigError:
    problem = error.errors()[0]
    keys = tuple(str(one) for one in problem["loc"])
    place = places.get(keys, "settings")
    name = ".".join(keys)
    if problem["type"] == "extra_forbidden":
        for key in keys[:-1]:
            inner = _section(model.model_fields[key])
            assert inner is not None  # it has keys
            model = inner
        known = ", ".join(model.model_fields)
        return ConfigError(f"{place}: {name}", "there is no such setting", f"Known here: {known}.")
    told = problem["msg"].removeprefix("Value error, ")
    # A number or a choice is shown; where a secret may stand, it is not.
    shown = problem["type"] not in _OF_SECTIONS and not _SECRET.intersection(keys)
    now = f"It is {problem['input']!r} now." if shown else "What it is may be secret: not shown."
    return ConfigError(f"{place}: {name}", told, now)
