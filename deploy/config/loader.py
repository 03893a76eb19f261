"""Settings from a TOML file and environment variables; variables win.

A wrong value is reported with the place that it comes from: the file or the variable.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TypeAlias

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, EnvSettingsSource, SettingsConfigDict

from freshrank.actors.errors import ConfigError, did_you_mean
from freshrank.deploy.config.settings import Settings

# ``FRESHRANK_A__B`` is the key ``b`` of the table ``[a]``.
PREFIX, DELIMITER = "FRESHRANK_", "__"

# A problem with a section as a whole: its input is all of the section, secrets included.
_OF_SECTIONS = {"model_type", "value_error"}

Keys: TypeAlias = tuple[str, ...]
"""The names of the sections, then that of the value: ``("kafka", "bootstrap")``."""


class _Variables(BaseSettings, Settings):
    """Says which environment variables there are; never instantiated."""

    # A variable's text is the value: none is JSON.
    model_config = SettingsConfigDict(
        env_prefix=PREFIX, env_nested_delimiter=DELIMITER, enable_decoding=False
    )


def load_settings(
    path: Path | None = None, environment: Mapping[str, str] = os.environ
) -> Settings:
    """Read the settings: their defaults < the TOML file at `path` < the variables in `environment`.

    Raises ConfigError that names the setting and the file or variable that its value comes from;
    a value that may be secret is not repeated.
    """
    in_file = {} if path is None else _from_file(path)
    in_environment = _from_environment(environment)
    places = {keys: str(path) for keys, _ in _nodes(in_file)}
    places |= {keys: _variable(keys) for keys in _leaves(in_environment)}
    try:
        settings = Settings.model_validate(_merged(in_file, in_environment))
    except ValidationError as error:
        raise _first_problem(error, places) from error
    _check_names(environment, in_environment)
    return settings


def _from_file(path: Path) -> dict[str, object]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(
            str(path), f"cannot be read: {error.strerror}", "Give a TOML file."
        ) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(str(path), f"is not TOML: {error}", "Correct that line.") from error


def _from_environment(environment: Mapping[str, str]) -> dict[str, object]:
    source = EnvSettingsSource(_Variables)
    # The library reads the environment of this process, with names in lower case.
    source.env_vars = {
        name.lower(): value for name, value in environment.items() if name.startswith(PREFIX)
    }
    values: dict[str, object] = source()
    return values


def _check_names(environment: Mapping[str, str], read: Mapping[str, object]) -> None:
    """Raise ConfigError for a variable with our prefix that sets nothing."""
    known = {_variable(keys) for keys in _leaves(read)}
    for name in sorted(environment.keys() - known):
        if name.startswith(PREFIX):
            first = name.removeprefix(PREFIX).lower().partition(DELIMITER)[0]
            raise ConfigError(
                f"{name}: {first}", "there is no such setting", _known_names(first, Settings)
            )


def _merged(low: Mapping[str, object], high: Mapping[str, object]) -> dict[str, object]:
    """Both; where they have the same key, `high` wins, section by section.

    >>> _merged({"kafka": {"bootstrap": "a:1", "partitions": 3}}, {"kafka": {"bootstrap": "b:2"}})
    {'kafka': {'bootstrap': 'b:2', 'partitions': 3}}
    """
    merged = {**low, **high}
    for key in low.keys() & high.keys():
        below, above = low[key], high[key]
        if isinstance(below, dict) and isinstance(above, dict):
            merged[key] = _merged(below, above)
    return merged


def _nodes(values: Mapping[str, object], above: Keys = ()) -> Iterator[tuple[Keys, object]]:
    """Each section and each value, with its keys."""
    for key, value in values.items():
        yield (*above, key), value
        if isinstance(value, dict):
            yield from _nodes(value, (*above, key))


def _leaves(values: Mapping[str, object]) -> list[Keys]:
    return [keys for keys, value in _nodes(values) if not isinstance(value, dict)]


def _variable(keys: Keys) -> str:
    return PREFIX + DELIMITER.join(keys).upper()


def _first_problem(error: ValidationError, places: Mapping[Keys, str]) -> ConfigError:
    problem = error.errors()[0]
    keys = tuple(str(key) for key in problem["loc"])
    name = f"{places.get(keys, 'settings')}: {'.'.join(keys)}"
    fields = _fields(keys)
    if problem["type"] == "extra_forbidden":
        section = fields[-1].annotation if fields else Settings
        assert isinstance(section, type) and issubclass(section, BaseModel)  # it has keys
        return ConfigError(name, "there is no such setting", _known_names(keys[-1], section))
    # `repr=False` marks what may hold a secret.
    secret = problem["type"] in _OF_SECTIONS or not all(field.repr for field in fields)
    now = "Its value may be secret: not shown." if secret else f"It is {problem['input']!r} now."
    return ConfigError(name, problem["msg"].removeprefix("Value error, "), now)


def _fields(keys: Keys) -> list[FieldInfo]:
    """The fields on the way to a value, as far as there are such."""
    found: list[FieldInfo] = []
    model: type[BaseModel] = Settings
    for key in keys:
        if key not in model.model_fields:
            break
        field = model.model_fields[key]
        found.append(field)
        if not (isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel)):
            break
        model = field.annotation
    return found


def _known_names(name: str, section: type[BaseModel]) -> str:
    """The setting that was meant by `name` in a section, which another section may have; or all."""
    elsewhere = [
        f"{above}.{name}"
        for above, field in Settings.model_fields.items()
        if isinstance(field.annotation, type)
        and issubclass(field.annotation, BaseModel)
        and name in field.annotation.model_fields
    ]
    if elsewhere:
        return f"Did you mean {' or '.join(elsewhere)}?"
    return did_you_mean(name, section.model_fields, "Known here:")
