"""What a source of candidates is: its declaration, and the index that a replica keeps of it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from freshrank.actors.errors import ConfigError, did_you_mean
from freshrank.actors.messages import Bools, Doubles, Floats, Ints
from freshrank.feature_actors.aggregations import last_k
from freshrank.feature_actors.aggregations.kernel_types import AT, FeatureBlock
from freshrank.feature_actors.retrieval.catalogue import ItemCatalogue
from freshrank.feature_actors.streams.entity_key import EntityKey
from freshrank.feature_actors.streams.fields import Fields
from freshrank.feature_actors.streams.stream import Stream
from freshrank.feature_actors.streams.table import Table
from freshrank.feature_actors.views.plan import FeaturePlan
from freshrank.feature_actors.views.table_plan import TablePlan


class FeaturePlace(NamedTuple):
    """Where a feature of items stands in the block that is read from their rows."""

    table: TablePlan
    begin: int
    """Its first column, of `FeatureBlock.values` or `FeatureBlock.ids`."""
    width: int = 1


class TimedPlace(NamedTuple):
    """Where ids and their times stand in the words of a row."""

    table: TablePlan
    begin: int
    """The first of `width` ids, after which come as many times."""
    width: int

    def read(self, words: Mapping[str, Doubles]) -> tuple[Ints, Ints]:
        """(ids int64[m, width], times int64[m, width], ms) of rows, by the names of the tables."""
        rows = words[self.table.name].view(np.int64)
        middle = self.begin + self.width
        return rows[:, self.begin : middle], rows[:, middle : middle + self.width]


@dataclass(frozen=True, slots=True)
class ItemFeatures:
    """The catalogue's table and the features of its items, for sources to be checked against."""

    table: Table
    plan: FeaturePlan
    stream: Stream
    """The stream whose events name the items."""

    def number(self, name: str, place: str) -> FeaturePlace:
        """The place of a numeric feature of items. Raises ConfigError."""
        found = {
            column: FeaturePlace(table, begin)
            for table in self.plan.tables
            for begin, column in enumerate(table.columns)
        }
        return _feature(found, name, "numeric feature", place)

    def bag(self, name: str, place: str) -> FeaturePlace:
        """The place of a feature of items that is a bag of ids. Raises ConfigError."""
        found: dict[str, FeaturePlace] = {}
        for table in self.plan.tables:
            begin = 0
            for bag in table.layout.bags:
                found[bag.field.name] = FeaturePlace(table, begin, bag.field.width)
                begin += bag.field.width
        return _feature(found, name, "feature that lists ids", place)

    def last(self, name: str, place: str) -> TimedPlace:
        """The place of a feature of items that lists ids with their times. Raises ConfigError."""
        found = self.bag(name, place)
        words = found.table.layout.words_of(name)
        lines = found.table.program
        (opcode,) = lines[lines[:, AT] == words.start, 0].tolist()
        if opcode not in [one.opcode for one in last_k.OPERATIONS]:
            raise ConfigError(
                place, f"{name!r} has no times", f'Declare it as LastK("{self.stream.key.key}").'
            )
        return TimedPlace(found.table, words.start, found.width)

    @property
    def fields(self) -> Fields:
        """Those of the catalogue."""
        return self.table.fields

    @property
    def key(self) -> EntityKey:
        """The key of items, as requests give it."""
        return EntityKey(self.table.row_type, self.table.fields, self.table.key.key)


def _feature(found: Mapping[str, FeaturePlace], name: str, kind: str, place: str) -> FeaturePlace:
    if name not in found:
        fix = did_you_mean(name, found) if found else "Declare one in a view of items."
        raise ConfigError(place, f"items have no {kind} {name!r}", fix)
    return found[name]


class Found(NamedTuple):
    """The answer of a source to a query: ``m`` items, the best first."""

    slots: Ints
    """int64[m], each once."""
    weights: Doubles
    """float64[m]: how much the source speaks for each."""


NOTHING = Found(np.zeros(0, dtype=np.int64), np.zeros(0))


class Ask(NamedTuple):
    """A query, as sources take it."""

    most: int
    allowed: Bools
    """bool[s]: the slots of the items that are wanted."""
    recent: Ints
    """int64[r]: slots of the items that the entity touched last, the newest first."""
    totals: Found = NOTHING
    """What `SourceIndex.totals` of the same source gives for `recent`."""


class SourceIndex(ABC):
    """The index of a source in a replica, over the slots of a catalogue.

    `take` and `forget` keep what was read of items; `rebuild` makes of it what `find` answers from.
    `rebuild` may run in a thread of its own: it reads arrays that others write single numbers of,
    and replaces its result as a whole.
    """

    features: Sequence[FeaturePlace] = ()
    """What it has to be given of the items' rows."""
    bytes_per_item: int = 0
    """About how many bytes it takes for an item, in addition to the rows that it is given."""

    def take(self, slots: Ints, blocks: Mapping[str, FeatureBlock]) -> bool:
        """Note what was read for items; `blocks` are by the names of the tables.

        Returns whether it has changed: else the index need not be rebuilt.
        """
        return False

    def take_words(self, slots: Ints, words: Mapping[str, Doubles]) -> bool:
        """Note the rows that were read for items, float64[m, words] by the names of the tables.

        Returns as `take` does.
        """
        return False

    def forget(self, slots: Ints) -> bool:
        """Note that the catalogue has changed, and that `slots` have other items than before.

        Returns whether the index has to be rebuilt.
        """
        return True

    @abstractmethod
    def rebuild(self) -> None:
        """Build the index from what `take` and `forget` have noted."""

    def totals(self, recent: Ints) -> Found:
        """What both `find` and `weigh` are made from, so that it is computed once for both."""
        return NOTHING

    @abstractmethod
    def find(self, ask: Ask) -> Found:
        """The best items that are allowed."""

    def weigh(self, slots: Ints, recent: Ints, totals: Found) -> Doubles:
        """float64[n]: how much it speaks for the items in `slots` int64[n], whatever is allowed."""
        return np.zeros(len(slots))

    def because(self, slot: int, recent: Ints) -> Ints:
        """int64[b]: those of `recent` that led to the item in `slot`, the strongest first."""
        return recent[:0]


class CandidateSource(ABC):
    """A way to find candidates, as a pipeline declares it."""

    similar: bool = False
    """Whether it finds items for other items."""
    learned: bool = False
    """Whether its weight for a candidate is an input of the model."""

    @property
    @abstractmethod
    def name(self) -> str:
        """What answers and metrics call it: different for the sources of a pipeline."""

    @abstractmethod
    def check(self, items: ItemFeatures, place: str) -> None:
        """Raise ConfigError where the items lack what it needs."""

    @abstractmethod
    def index(self, items: ItemFeatures, catalogue: ItemCatalogue) -> SourceIndex:
        """A new index over the slots of `catalogue`."""


def first_allowed(order: Ints, allowed: Bools, most: int) -> Ints:
    """int64[m <= most]: the first slots of `order` that are allowed.

    Looks at ever more of `order`: few of many are wanted, and mostly most are allowed.

    >>> first_allowed(np.array([3, 1, 0, 2]), np.array([True, False, True, True]), 2).tolist()
    [3, 0]
    """
    looked = 4 * most
    while True:
        part = order[:looked]
        found = part[allowed[part]]
        if len(found) >= most or looked >= len(order):
            return found[:most]
        looked *= 4


# To find the greatest numbers, every so many-th is looked at first: that bounds where these begin.
_SAMPLED = 16


def greatest(values: Floats, most: int) -> Ints:
    """int64[m]: the places of the at most `most` greatest of `values` above 0, the greatest first.

    >>> greatest(np.array([0.1, 0.0, 0.3, 0.2], np.float32), 2).tolist()
    [2, 3]
    """
    sample = values[::_SAMPLED]
    # Half as many again as there should be, so that mostly enough are above.
    below = len(sample) - (3 * most) // (2 * _SAMPLED) - 1
    least = max(float(np.partition(sample, below)[below]), 0.0) if below > 0 else 0.0
    places = np.flatnonzero(values > least)
    if len(places) < most:
        places = np.flatnonzero(values > 0)
    if most < len(places):
        places = places[np.argpartition(-values[places], most)[:most]]
    found: Ints = places[np.lexsort((places, -values[places]))]
    return found


MEANS = 10.0
"""Means in a unit of `relative_weights`. Models see the logarithm of 1 + a number: in smaller units
it would tell the many weak items apart, and not the few that a list begins with."""


def relative_weights(found: Found, slots: Ints) -> Doubles:
    """float64[n]: the weights of the items in `slots` in tens of the mean weight; 0: not `found`.

    So they mean the same for entities that touched much and for entities that touched little; as
    shares of the greatest they would be large where all items are alike. `found` is in the order
    of its slots.

    >>> found = Found(np.array([2, 5, 8]), np.array([5.0, 1.0, 3.0]))
    >>> relative_weights(found, np.array([8, 3, 2])).round(2).tolist()
    [0.1, 0.0, 0.17]
    """
    if not len(found.slots):
        return np.zeros(len(slots))
    places = np.minimum(np.searchsorted(found.slots, slots), len(found.slots) - 1)
    relative = found.weights[places] / (MEANS * found.weights.mean())
    return np.where(found.slots[places] == slots, relative, 0.0)
