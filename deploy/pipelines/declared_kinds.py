"""Whether the arguments of a pipeline are of the kinds that are due: one thing, a list, a dict."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from freshrank.actors.errors import ConfigError
from freshrank.feature_actors.labels.definitions import Joined, Labelled
from freshrank.feature_actors.streams.stream import Stream

_ONE: Mapping[str, tuple[type, ...]] = {"stream": (Stream,), "label": (Joined, Labelled)}
_LISTS: Mapping[str, str] = {
    "features": "features=[YourView]",
    "crosses": 'crosses=[("user_id", "item_id")]',
    "relative": 'relative=["price"]',
    "candidates": "candidates=[...]",
}


def check_kinds(place: str, given: Mapping[str, object]) -> None:
    """Raise ConfigError for an argument of another kind than is due, with what to write.

    `given` are the arguments, by name. What is in a list is checked by what takes it.

    >>> check_kinds("Pipeline('plays')", {"stream": []})
    Traceback (most recent call last):
    ...
    freshrank.actors.errors.ConfigError: Pipeline('plays').stream: [] is a list. Write \
streams=[...] for several.
    """
    for name, kinds in _ONE.items():
        value, due = given[name], " or ".join(f"{one.__name__}(...)" for one in kinds)
        if name == "stream" and isinstance(value, list | tuple):
            fix = "Write streams=[...] for several."
            raise ConfigError(f"{place}.{name}", f"{value!r} is a list", fix)
        if not isinstance(value, kinds):
            what = f"{value!r} is not of a kind that is known here"
            raise ConfigError(f"{place}.{name}", what, f"Write {name}={due}.")
    for name, example in _LISTS.items():
        listed = given[name]
        if isinstance(listed, str) or not isinstance(listed, Sequence):
            raise ConfigError(f"{place}.{name}", f"{listed!r} is no list", f"Write {example}.")
    if not isinstance(given["samples"], Mapping):
        what = f"{given['samples']!r} is no dict"
        raise ConfigError(f"{place}.samples", what, 'Write samples={"entities": ["u1"]}.')
