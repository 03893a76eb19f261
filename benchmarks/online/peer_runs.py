"""What the script of other projects' learners has written, and how much code they take."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path

import msgspec
import numpy as np

from freshrank.actors.messages import Doubles
from freshrank.benchmarks.online.own_learners import Learned
from freshrank.benchmarks.peers import peer_learners

SCRIPT = Path(peer_learners.__file__)
"""Runs the peers."""
LINEAR = ("vw", "vw_ftrl", "river_adagrad")
"""The peers that are linear in the raw inputs."""


class _Written(msgspec.Struct):
    seconds: float
    predictions: list[float | list[float | None] | None]


def lines_of_code() -> Mapping[str, int]:
    """The lines of a user's code that each peer takes."""
    return peer_learners.lines_of_code()


def written(folder: Path, stream: str) -> dict[str, Learned]:
    """What the script has written of a stream, by peer."""
    found = {}
    for name in peer_learners.LEARNERS:
        path = folder / f"{stream}.{name}.json"
        one = msgspec.json.decode(_without_nan(path.read_bytes()), type=_Written)
        found[name] = Learned(_numbers(one.predictions), one.seconds)
    return found


def _without_nan(document: bytes) -> bytes:
    """A document of Python's `json`, which writes what is not finite as JSON has no names for.

    >>> _without_nan(b'{"predictions": [1.0, NaN, -Infinity]}')
    b'{"predictions": [1.0, null, null]}'
    """
    for name in (b"-Infinity", b"Infinity", b"NaN"):
        document = document.replace(name, b"null")
    return document


def _numbers(predictions: list[float | list[float | None] | None]) -> Doubles:
    def number(one: float | None) -> float:
        return math.nan if one is None else one

    return np.array(
        [
            [number(each) for each in one] if isinstance(one, list) else number(one)
            for one in predictions
        ],
        np.float64,
    )
