"""What sources find, merged: how often each source was right says which candidates come first."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from freshrank.actors.messages import Doubles, Ints
from freshrank.feature_actors.retrieval.base import Found

# Ranks of a list are told apart by their power of two: 1, 2 to 3, 4 to 7, ..., 512 to 1,023.
_BUCKETS = 10
# Entities whose lists are kept until they come back. An entry of a list takes four bytes: with
# seven sources of 200 candidates each, these take 6 MB.
_MOST_ENTITIES = 1_000
# And so long at most: who is forgotten, and does not come back, is in no list after it.
_LONGEST_MS = 86_400_000
# Lists after which what was counted before weighs half: what people do changes, and rates of some
# thousand lists are sure enough.
_HALF_LIFE = 4_000
# Hits of all sources that a source's own are mixed with.
_PRIOR_HITS = 5.0
# Of the candidates, the share for which sources take turns, so that items come up, too, of a source
# that has not been right so far: what is never shown is rarely touched.
_TURNS = 0.1


class _Kept(NamedTuple):
    """The lists that an entity had."""

    at_ms: int
    """When it asked."""
    newest: int
    """The slot of the item that it had touched last."""
    slots: Mapping[str, NDArray[np.int32]]
    """By source, int32[m]: its items, the best first."""


class _Counts:
    """Of one source, by bucket of ranks."""

    def __init__(self) -> None:
        self.hits: Doubles = np.zeros(_BUCKETS)
        self.tries: Doubles = np.zeros(_BUCKETS)


class SourceHits:
    """How often the item that an entity touches next was in a source's list, by its rank there.

    The lists of an entity are kept until it comes back and has touched something: each source is
    then judged by all that it would have given, whatever was shown of it. Where several items were
    touched meanwhile, each counts in part.
    """

    def __init__(self) -> None:
        self._kept: OrderedDict[str, _Kept] = OrderedDict()
        self._counts: dict[str, _Counts] = {}
        self._lists = 0.0
        self._usual = _usual([])
        self._falling: dict[str, Doubles] = {}
        """By source, `rates` of each bucket, until they change."""
        self.first_places = FirstPlaces()

    def take(self, entity: str, at_ms: int, recent: Ints, found: Mapping[str, Found]) -> None:
        """Judge the last lists of `entity`, which asks `at_ms`, and keep those of now.

        `recent` int64[r] are the slots of the items it touched last, the newest first. A slot may
        have another item than when it was kept: such a hit is one of thousands. Lists of who has
        touched nothing, for it is new or was forgotten, are not kept, nor those of a day before.
        """
        while self._kept and next(iter(self._kept.values())).at_ms < at_ms - _LONGEST_MS:
            self._kept.popitem(last=False)
        if not len(recent):
            self._kept.pop(entity, None)
            return
        before = self._kept.get(entity)
        if before is not None:
            known = np.flatnonzero(recent == before.newest)
            touched = recent[: known[0]] if len(known) else recent
            if not len(touched):
                return
            self._judge(before, touched)
        lists = {name: one.slots.astype(np.int32) for name, one in found.items()}
        self._kept[entity] = _Kept(at_ms, int(recent[0]), lists)
        self._kept.move_to_end(entity)
        if len(self._kept) > _MOST_ENTITIES:
            self._kept.popitem(last=False)

    def _judge(self, kept: _Kept, touched: Ints) -> None:
        self._lists += 1.0
        if self._lists >= _HALF_LIFE:
            self._lists /= 2.0
            for counts in self._counts.values():
                counts.hits /= 2.0
                counts.tries /= 2.0
        for name, slots in kept.slots.items():
            counts = self._counts.setdefault(name, _Counts())
            buckets = _buckets(len(slots))
            counts.tries += np.bincount(buckets, minlength=_BUCKETS)
            hit = (slots[:, None] == touched).any(axis=1)
            hits = np.bincount(buckets[hit], minlength=_BUCKETS)
            counts.hits += hits / len(touched)
        self._usual = _usual(list(self._counts.values()))
        self._falling.clear()

    def rates(self, source: str, length: int) -> Doubles:
        """float64[length]: by rank in a list of `source`, how often the item was touched next.

        At least what it is at any later rank, so that a list keeps its order. Mixed with those of
        all sources, so that it is the same for all where nothing is known.
        """
        falling = self._falling.get(source)
        if falling is None:
            counts = self._counts.get(source, _Counts())
            rates = (counts.hits + _PRIOR_HITS) / (counts.tries + _PRIOR_HITS / self._usual)
            falling = self._falling[source] = np.maximum.accumulate(rates[::-1])[::-1]
        return falling[_buckets(length)]

    @property
    def waiting(self) -> int:
        """Entities whose lists are kept until they come back."""
        return len(self._kept)

    def shares(self) -> dict[str, float]:
        """By source, which share of the items touched next was in its lists."""
        return {
            name: float(counts.hits.sum() / max(counts.tries[0], 1.0))
            for name, counts in self._counts.items()
        }


def _usual(every: Sequence[_Counts]) -> Doubles:
    """float64[_BUCKETS]: how often an item was touched next, by its rank in any source's list."""
    tries = sum((one.tries for one in every), np.zeros(_BUCKETS))
    hits = sum((one.hits for one in every), np.zeros(_BUCKETS))
    found: Doubles = (hits + 1.0) / (tries + 2.0 ** (1.0 + np.arange(_BUCKETS)))
    return found


def _buckets(length: int) -> Ints:
    """int64[length]: the bucket of each rank.

    >>> _buckets(8).tolist()
    [0, 1, 1, 2, 2, 2, 2, 3]
    """
    if length <= len(_OF_RANKS):
        return _OF_RANKS[:length]
    return np.pad(_OF_RANKS, (0, length - len(_OF_RANKS)), constant_values=_BUCKETS - 1)


_OF_RANKS: Ints = np.repeat(np.arange(_BUCKETS), 2 ** np.arange(_BUCKETS))
"""int64[1,023]: the bucket of each rank before the last bucket is the only one."""


class FirstPlaces:
    """Finds the first of several places that have the same slot, in memory that is used again."""

    def __init__(self) -> None:
        self._of_slots: Ints = np.zeros(0, dtype=np.int64)

    def different(self, slots: Ints, order: Ints) -> Ints:
        """int64[m]: those places of `order` whose slot has not come before.

        >>> FirstPlaces().different(np.array([7, 5, 5, 2]), np.array([2, 0, 1, 3])).tolist()
        [2, 0, 3]
        """
        if not len(order):
            return order
        in_order = slots[order]
        most = int(in_order.max())
        if most >= len(self._of_slots):
            self._of_slots = np.zeros(2 * most + 1, dtype=np.int64)
        places = np.arange(len(order))
        self._of_slots[in_order[::-1]] = places[::-1]  # of equal slots the last counts: the first
        found: Ints = order[self._of_slots[in_order] == places]
        return found


def merged(found: Mapping[str, Found], most: int, hits: SourceHits) -> tuple[Ints, list[float]]:
    """Slots, each once, and the weight that the source gives which is taken first.

    First sources take turns for a tenth of `most`, the best of each source first. Then the source
    comes whose next item has been touched most often at that rank; of sources where that is equal,
    they take turns.

    >>> first = Found(np.array([7, 5]), np.array([0.9, 0.1]))
    >>> second = Found(np.array([5, 2]), np.array([30.0, 20.0]))
    >>> slots, weights = merged({"a": first, "b": second}, 3, SourceHits())
    >>> slots.tolist(), weights
    ([7, 5, 2], [0.9, 30.0, 20.0])
    """
    every = list(found.values())
    slots = np.concatenate([one.slots for one in every])
    weights = np.concatenate([one.weights for one in every])
    turns = np.concatenate(
        [np.arange(len(one.slots)) * len(every) + place for place, one in enumerate(every)]
    )
    rates = np.concatenate([hits.rates(name, len(one.slots)) for name, one in found.items()])
    first = hits.first_places
    fewest = int(_TURNS * most)
    # As many of each source: no slot is there more often than there are sources.
    lengths = np.array([len(one.slots) for one in every])
    ranks = np.arange(fewest)[:, None]
    by_turns = (ranks + np.cumsum(lengths) - lengths)[ranks < lengths]
    in_turn = first.different(slots, by_turns)[:fewest]
    order = np.concatenate([in_turn, np.lexsort((turns, -rates))])
    chosen = first.different(slots, order)[:most]
    return slots[chosen], weights[chosen].tolist()
