"""The messages between processes: small frozen dataclasses and arrays with named axes.

Axes: ``n`` rows (events, examples or candidates), ``d`` dense inputs, ``f`` id columns, ``u``
distinct ids, ``w`` the width of one table row, ``p`` dense weights. Times are Unix times in ms.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple, Self, TypeAlias

import numpy as np
from numpy.typing import NDArray

from freshrank.actors.inputs.cleaning import Cleaning

Floats: TypeAlias = NDArray[np.float32]
Doubles: TypeAlias = NDArray[np.float64]
Ints: TypeAlias = NDArray[np.int64]
Bools: TypeAlias = NDArray[np.bool_]
Ids: TypeAlias = tuple[int, ...]


class SourceOffsets(Mapping[str, int]):
    """How far one partition has been read: the next offset of each source topic, by its name.

    Immutable and hashable. A topic of which no record has been read has the offset 0 and is not
    listed, as in a `collections.Counter`; so those of an unread partition are empty, and false.

    >>> offsets = SourceOffsets({"behaviour": 5, "shop.impressions": 0})
    >>> offsets
    SourceOffsets({'behaviour': 5})
    >>> offsets["behaviour"], offsets["shop.impressions"]
    (5, 0)
    """

    __slots__ = ("_offsets",)

    def __init__(self, offsets: Mapping[str, int] | None = None) -> None:
        given = offsets or {}
        self._offsets = {topic: given[topic] for topic in sorted(given) if given[topic]}

    @classmethod
    def from_json(cls, offsets: Mapping[str, int] | Sequence[int], topics: Sequence[str]) -> Self:
        """The offsets of a file: by topic, or (format 3) as a list in the order of `topics`.

        >>> SourceOffsets.from_json([5, 3], ["behaviour", "shop.impressions"])
        SourceOffsets({'behaviour': 5, 'shop.impressions': 3})
        """
        if not isinstance(offsets, Mapping):
            offsets = dict(zip(topics, offsets, strict=True))
        return cls(offsets)

    def __getitem__(self, topic: str) -> int:
        return self._offsets.get(topic, 0)

    def __contains__(self, topic: object) -> bool:
        return topic in self._offsets

    def __iter__(self) -> Iterator[str]:
        return iter(self._offsets)

    def __len__(self) -> int:
        return len(self._offsets)

    def __hash__(self) -> int:
        return hash(tuple(self._offsets.items()))

    def __eq__(self, other: object) -> bool:
        if isinstance(other, SourceOffsets):
            return self._offsets == other._offsets
        return super().__eq__(other)

    def __repr__(self) -> str:
        return f"SourceOffsets({self._offsets})"

    def __str__(self) -> str:
        return ", ".join(f"{topic} {offset}" for topic, offset in self.items()) or "the beginning"


BEGINNING = SourceOffsets()
"""The offsets of a partition of which no record has been read."""


def dominates(reached: SourceOffsets, wanted: SourceOffsets) -> bool:
    """Whether `reached` lies at or beyond `wanted` in every topic.

    >>> here = SourceOffsets({"views": 5, "orders": 3})
    >>> dominates(here, SourceOffsets({"views": 5})), dominates(SourceOffsets({"views": 9}), here)
    (True, False)
    """
    return all(reached[topic] >= offset for topic, offset in wanted.items())


class Version(NamedTuple):
    """A version of the weights; a later version is greater.

    `epoch` grows by 1 with each start of a learner, `step` by 1 with each of its optimiser steps.

    >>> Version(1, 9) < Version(2, 0)
    True
    >>> str(Version(1, 9)), Version.parse("1.9")
    ('1.9', Version(epoch=1, step=9))
    """

    epoch: int
    step: int

    def __str__(self) -> str:
        return f"{self.epoch}.{self.step}"

    @classmethod
    def parse(cls, text: str) -> Version:
        """Read the form that `str` writes; raises ValueError on anything else."""
        epoch, step = text.split(".")
        return cls(int(epoch), int(step))


@dataclass(frozen=True, slots=True)
class OffsetRange:
    """The records of a partition from which examples were made: ``begin <= offset < end``."""

    partition: int
    begin: SourceOffsets
    end: SourceOffsets
    first: bool = False
    """Whether the shard keeps no examples before it: a learner without progress begins with it."""
    forgotten: Ids = field(default=(), compare=False)
    """Ids of inputs whose rows begin again from their initial values once it is learned."""


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


@dataclass(frozen=True, slots=True)
class Examples:
    """The labelled input rows of an offset range, each exactly as it was served."""

    offset_range: OffsetRange
    inputs: Inputs
    labels: Floats
    """float32[n]: 0 or 1, the targets of a regression, or the places of classes."""
    event_times_ms: Ints
    """int64[n]: event time of the record that completed each example."""
    corrects: Bools | None = None
    """bool[n]: whether it corrects an example with these inputs and the label 0, which was learned
    before its label was known; None where none does."""
    served: Floats | None = None
    """float32[n]: the predictions that were served; None for inputs that were not served."""
    origins: Ints | None = None
    """int64[n]: the offset of the impression that showed each; None where none is a correction."""
    weights: Floats | None = None
    """float32[n]: how many times each counts, 0 or more; None where all count once."""

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True, slots=True)
class Probes:
    """A few examples of a gradient, by whose outputs the learner bounds its step."""

    inputs: Inputs
    labels: Floats
    shares: Doubles
    """float64[k]: how many examples each stands for, by their weights."""

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True, slots=True)
class Gradient:
    """The loss gradient, summed over the examples of an offset range, at the weights `base`."""

    offset_range: OffsetRange
    base: Version
    dense: Floats
    """float32[p]."""
    keys: Ints
    """int64[u]: distinct ids, ascending."""
    rows: Floats
    """float32[u, w]: the summed gradient of each id's row."""
    dense_squares: Floats
    """float32[p]: as `dense`, but the sum of the squares of each example's gradient."""
    row_squares: Floats
    """float32[u, w]: as `rows`, but the sum of the squares of each example's gradient."""
    row_counts: Floats
    """float32[u]: how many of the examples have each id."""
    labels: Floats
    """float32[n]."""
    scores: Floats
    """float32[n], of classes [n, c]: predictions of `base` that has learned those before."""
    reference_scores: Floats | None
    """As `scores`: predictions of the frozen reference model; None without a reference."""
    newest_event_ms: int
    """The newest event time among the examples (0 when there are none)."""
    moments: Doubles
    """float64[3, d]: count, mean and variance of each dense input over the examples; a column more
    for labels that give outputs their scale, and more rows where numbers are cleaned."""
    corrects: Bools | None = None
    """bool[n]: see `Examples`."""
    served: Floats | None = None
    """As `scores`: see `Examples`; by the averages where these serve, and others are not known."""
    origins: Ints | None = None  # see `Examples`; not in checkpoints
    weights: Floats | None = None  # see `Examples`
    probes: Probes | None = None
    """None in checkpoints from before there were any: a step with such a gradient has no bound."""
    residuals: tuple[float, float] | None = None
    """Sums of the sizes and of the squares of the derivatives by outputs; None: as of `scores`."""
    in_order: bool = False
    """Whether the later examples know what the earlier ones teach (`gradients.in_order`)."""

    def __len__(self) -> int:
        return len(self.labels)

    def damped(self, share: float) -> Gradient:
        """The gradient of which each example counts for `share` of one."""
        probes, part = self.probes, np.float32(share)
        if probes is not None:
            probes = replace(probes, shares=probes.shares * share)
        dense, rows, counts = self.dense * part, self.rows * part, self.row_counts * part
        return replace(self, dense=dense, rows=rows, row_counts=counts, probes=probes)


@dataclass(frozen=True, slots=True)
class Delta:
    """The change from the weights `base` (None: it replaces all of them) to those of `version`."""

    version: Version
    base: Version | None
    dense: Floats
    """float32[p]: all dense weights."""
    moments: Doubles
    """See `Gradient`; by these inputs and labels are standardised, and numbers cleaned."""
    keys: Ints
    """int64[u]: ids whose rows changed, ascending."""
    rows: Floats
    """float32[u, w]."""
    evicted: Ints
    """int64[e]: ids whose rows were dropped; they begin again from their initial values."""
    applied: dict[int, SourceOffsets] = field(default_factory=dict)
    """By partition: `version` contains its examples below these offsets."""
    created_ms: int = 0
    """When the learner published the version."""
    newest_event_ms: int = 0
    """The newest event time among all examples that `version` contains."""
    checksum: str | None = None
    """The checksum of all weights of `version`: a copy that applies the delta must get the same."""
    served_checksum: str | None = None
    """The same of the weights that serve, where these are averages."""
    row_state: Floats | None = None
    """float32[u, s]: the optimiser's, for who differentiates; None: nobody does with this delta."""
    dense_state: Floats | None = None
    """float32[q]: the same of the dense weights."""
    learned: int = 0
    """How many examples `version` has learned."""

    @property
    def nbytes(self) -> int:
        """Of its arrays."""
        found = (self.dense, self.keys, self.rows, self.evicted, self.row_state, self.dense_state)
        return sum(array.nbytes for array in found if array is not None)
