"""Which user touched which item when: the JD clickstream and MovieLens-100k, in one form."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from freshrank.actors.errors import ConfigError
from freshrank.actors.messages import Bools, Ints
from freshrank.examples.jd import read_actions

WARM_UP = 0.2
"""Share of the events before the first list that is judged."""
# Of users who are new, a list is asked for before so many touches once.
_EACH_NEW = 5


class Touch(NamedTuple):
    """A user touches an item: opens its page, or rates it."""

    user: str
    item: int
    category: str
    """Of the item."""
    kind: str
    """How it was touched: ``view``, or the stars of a rating."""
    at_ms: int


@dataclass(frozen=True)
class Interactions:
    """The touches of a data set, the oldest first, and where lists are asked for.

    A list is wanted just before a touch, whose item is then to be found; of these every `each`-th,
    and of users without a touch every fifth.
    """

    name: str
    touches: Sequence[Touch]
    asked: Bools
    """bool[n]: whether a list is asked for before the touch."""
    repeats: bool
    """Whether users touch items again. If not, lists have no items that the user touched."""
    judged: Bools
    """bool[n]: those of `asked` that count: after the warm-up, of users who touched other items."""

    def users(self) -> Ints:
        """int64[n]: the user of each touch, from 0 in the order of their first touches."""
        return _numbered([touch.user for touch in self.touches])

    def categories(self) -> Ints:
        """int64[n]: the category of each touch, from 0 in the order of their first touches."""
        return _numbered([touch.category for touch in self.touches])

    def items(self) -> Ints:
        """int64[n]: the item of each touch, from 0 in the order of their first touches."""
        return _numbered([touch.item for touch in self.touches])


def interactions(name: str, touches: Sequence[Touch], each: int, *, repeats: bool) -> Interactions:
    """Sort `touches` by time and choose where lists are asked for.

    >>> touches = [Touch("u", number, "a", "view", number) for number in range(3)]
    >>> found = interactions("one", touches, 1, repeats=False)
    >>> found.asked.tolist(), found.judged.tolist()
    ([False, True, True], [False, True, True])
    """
    ordered = sorted(touches, key=lambda touch: touch.at_ms)
    seen = set[str]()
    known = np.zeros(len(ordered), np.bool_)
    for place, touch in enumerate(ordered):
        known[place] = touch.user in seen
        seen.add(touch.user)
    asked = np.where(known, np.cumsum(known) % each == 0, np.cumsum(~known) % _EACH_NEW == 0)
    late = np.arange(len(ordered)) >= WARM_UP * len(ordered)
    return Interactions(name, ordered, asked, repeats, asked & known & late)


def read_interactions(data: Path) -> list[Interactions]:
    """Read the data sets at `data`: a file of one, or a folder in which both are looked for.

    Raises ConfigError when neither is there.
    """
    files = [data] if data.is_file() else sorted(data.rglob("*"))
    found = []
    for path in files:
        if path.name == "bo_action.parquet":
            found.append(interactions("jd", _jd(path), 16, repeats=True))
        if path.name == "ml-100k.inter":
            found.append(interactions("movielens", _movielens(path), 20, repeats=False))
    if not found:
        raise ConfigError(
            "bench quality",
            f"{data} has neither bo_action.parquet nor ml-100k.inter",
            "Give one of these files, or a folder that has them.",
        )
    return found


def _jd(path: Path) -> list[Touch]:
    return [
        Touch(action.user_id, action.sku_id, str(action.category_id), action.kind, action.ts)
        for action in read_actions(path)
        if action.kind != "uncart"
    ]


def _movielens(path: Path) -> list[Touch]:
    """RecBole's form of it: tabs, and a line of names; genres in ``ml-100k.item`` beside it."""
    genres = {row[0]: row[3] for row in _rows(path.with_suffix(".item"))}
    return [
        Touch(user, int(item), genres[item], stars, int(float(seconds)) * 1000)
        for user, item, stars, seconds in _rows(path)
    ]


def _rows(path: Path) -> list[list[str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.reader(file, delimiter="\t", quoting=csv.QUOTE_NONE))[1:]


def _numbered(values: Sequence[str] | Sequence[int]) -> Ints:
    numbers: dict[str | int, int] = {}
    return np.array([numbers.setdefault(value, len(numbers)) for value in values], dtype=np.int64)
