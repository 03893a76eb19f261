"""What a model is given: rows of numbers and of ids."""

from __future__ import annotations

from dataclasses import dataclass, field

from freshrank.actors.inputs.cleaning import Cleaning
from freshrank.actors.messages.arrays import Floats, Ints


@dataclass(frozen=True, slots=True)
class IdField:
    """A categorical model input of `width` id columns (0 = absent); of several columns, a bag."""

    name: str
    width: int = 1
    buckets: tuple[str, ...] = field(default=(), repr=False)
    """Of these numbers the learner mixes the buckets into its ids."""


@dataclass(frozen=True, slots=True)
class InputLayout:
    """The columns of a model's inputs: the names of ``d`` numbers, the fields of ``f`` ids."""

    dense: tuple[str, ...]
    fields: tuple[IdField, ...]
    cleaning: tuple[Cleaning, ...] = field(default=(), repr=False)
    """Of the numbers, by the learner; a missing one that it fills or buckets is NaN."""
    favourable: tuple[str, ...] = field(default=(), repr=False)
    """Those of `dense` of which more is known to speak for a label (`first_weights`)."""
    meanings: tuple[str, ...] = field(default=(), repr=False, compare=False)
    """What each of `dense`, then each of `fields`, is made of: where it changes, what was learned
    of the input is about something else. Empty: their names tell."""
    absent: tuple[float, ...] = field(default=(), repr=False, compare=False)
    """The values of `dense` in a row that does not carry them. Empty: 0 for all."""

    @property
    def id_width(self) -> int:
        """``f``: the number of id columns over all fields."""
        return sum(field_.width for field_ in self.fields)


@dataclass(frozen=True, slots=True)
class Inputs:
    """Input rows of a model: `dense` float32[n, d] and `ids` int64[n, f] (0 = absent)."""

    dense: Floats
    ids: Ints

    def __len__(self) -> int:
        return len(self.dense)
