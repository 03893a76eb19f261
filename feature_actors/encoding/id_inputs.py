"""The id inputs of a model: fields, bags, buckets of numbers, and crosses of two or three of them.

A *source* is a column of ids: ``s >= 0`` is id column ``s`` of all tables side by side, ``s < 0``
is column ``-1 - s`` of the context's ids.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple, TypeAlias

import numpy as np

from freshrank.actors.errors import ConfigError, nearest
from freshrank.actors.inputs.cleaning import Bucketed
from freshrank.actors.messages import IdField, Ints


class IdInput(NamedTuple):
    """What the ids of one input are mixed of."""

    name: str
    columns: tuple[tuple[int, ...], ...]
    """For each of its id columns the sources, in order."""
    buckets: tuple[str, ...] = ()
    """The numbers whose buckets the learner mixes in last."""

    @property
    def field(self) -> IdField:
        """As the layout has it."""
        return IdField(self.name, len(self.columns), self.buckets)

    @property
    def single(self) -> bool:
        """Whether each id is made of one source, or none."""
        return all(len(column) < 2 for column in self.columns)


def plain_inputs(
    sources: Mapping[str, Sequence[int]], bucketed: Sequence[Bucketed]
) -> dict[str, IdInput]:
    """By name, the inputs that are no crosses: those of `sources`, and buckets of numbers."""
    found = {
        name: IdInput(name, tuple((source,) for source in columns))
        for name, columns in sources.items()
    }
    for one in bucketed:
        found[one.input] = IdInput(one.input, ((),), (one.name,))
    return found


def crossed_inputs(plain: Mapping[str, IdInput], crosses: Sequence[Sequence[str]]) -> list[IdInput]:
    """The crosses: those of at most one source, and buckets, first.

    Raises ConfigError for a cross that is no pair or triple, has two bags, or names no id input.
    """
    found = [_cross(plain, cross) for cross in crosses]
    return sorted(found, key=lambda one: not one.single)


def _cross(plain: Mapping[str, IdInput], cross: Sequence[str]) -> IdInput:
    place = f"crosses {cross!r}"
    if isinstance(cross, str) or not isinstance(cross, Sequence) or len(cross) not in (2, 3):
        raise ConfigError(
            place, "it is no pair and no triple", 'Write pairs, as in [("user_id", "item_id")].'
        )
    for name in cross:
        if not isinstance(name, str) or name not in plain:
            near = nearest(str(name), plain)
            fix = f"Did you mean {near!r}? " if near else ""
            raise ConfigError(
                place,
                f"{name!r} is no id input",
                f"{fix}There are: {', '.join(plain)}; a number is one as Bucketed(...).",
            )
    sides = [plain[name] for name in cross]
    bags = [side for side in sides if len(side.columns) > 1]
    if len(bags) > 1:
        raise ConfigError(place, "two of its sides are bags", "Cross a bag with single fields.")
    single = tuple(side.columns[0][0] for side in sides if side not in bags and side.columns[0])
    first = bags[0].columns if bags else ((),)
    columns = tuple(column + single for column in first)
    buckets = tuple(name for side in sides for name in side.buckets)
    return IdInput("_x_".join(cross), columns, buckets)


_Sides: TypeAlias = Mapping[int, int]
"""By column of what is filled: the source that fills it."""


def routes(sides: tuple[_Sides, _Sides, _Sides], part: range) -> tuple[Ints, Ints, Ints]:
    """The sources that lie in `part` and what they fill, for each of the sides.

    Each as int64[., 2]: the place of a source in `part`, and the column that it fills.
    """
    left, right, third = sides
    return _within(left, part), _within(right, part), _within(third, part)


def _within(sources: _Sides, part: range) -> Ints:
    found = [(part.index(source), column) for column, source in sources.items() if source in part]
    return np.array(found, dtype=np.int64).reshape(-1, 2)


def check_names(names: Sequence[str], kind: str = "id") -> None:
    """Raise ConfigError where two inputs of a `kind` have one name."""
    for index, name in enumerate(names):
        if name in names[:index]:
            raise ConfigError(
                "context", f"two {kind} inputs are called {name!r}", "Rename the feature."
            )
