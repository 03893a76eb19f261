"""How like items are by their terms: cosines, of all items at once."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from freshrank.actors.messages import Doubles, Floats, Ints
from freshrank.feature_actors.retrieval.content.postings import Postings

# Of all items, the share that may have changed before what is known of all is made anew: up to then
# those that have changed have postings of their own.
_CHANGED_SHARE = 0.05


@dataclass(frozen=True)
class Likeness:
    """The likeness of items in slots, at one moment; `of` makes it, and `changed` the next one.

    The likeness of two items is the cosine of their vectors of one field, as a mean over the
    fields. A term that ``f`` of ``n`` items have counts ``ln((1 + n) / (1 + f)) + 1``, as in
    scikit-learn's `TfidfVectorizer` (Salton and Buckley: "Term-weighting approaches in automatic
    text retrieval", 1988), and once, however often it stands in a text: titles and lists of tags
    repeat a word by chance.
    """

    owners: Ints
    """int64[w]: by column of the terms, the number of its field."""
    items: int
    """Those that rarities were counted of."""
    whole: Postings
    """Of all items, when rarities were counted."""
    slots: Ints
    """int64[m]: those that have changed since."""
    later: Postings
    """Of these."""
    norms: Doubles
    """float64[s, f]: by slot and field, the length of its vector; 0: it is empty."""

    @staticmethod
    def of(terms: Ints, owners: Ints) -> Likeness:
        """That of all items, by their `terms` int64[s, w]; a slot without an item has zeros."""
        items = int(np.count_nonzero(terms.any(axis=1)))
        whole = Postings.of(
            terms, np.arange(len(terms)), owners, lambda _, counts: _rarity(items, counts)
        )
        slots = np.zeros(0, dtype=np.int64)
        later = Postings.of(terms[:0], slots, owners, lambda _, counts: _rarity(items, counts))
        return Likeness(owners, items, whole, slots, later, whole.norms)

    def changed(self, terms: Ints, slots: Ints) -> Likeness:
        """That of `terms` int64[s, w], which differ from those of before in `slots` int64[m]."""
        slots = np.union1d(self.slots, slots)
        if len(slots) > _CHANGED_SHARE * self.items:
            return Likeness.of(terms, self.owners)
        later = Postings.of(terms[slots], slots, self.owners, lambda ids, _: self._rarity(ids))
        norms = np.zeros((len(terms), self.norms.shape[1]))
        norms[: len(self.norms)] = self.norms
        norms[slots] = later.norms
        return Likeness(self.owners, self.items, self.whole, slots, later, norms)

    def to(self, terms: Ints, recent: Ints, shares: Doubles) -> Floats:
        """float32[s]: the likeness of all items to those in `recent` int64[r].

        It is the sum of the likenesses to each, times its share of `shares` float64[r].
        """
        lines, columns = np.nonzero(terms[recent])
        ids = terms[recent[lines], columns]
        parts = self._vectors(ids, recent[lines], columns) * shares[lines]
        ids, places = np.unique(ids, return_inverse=True)
        weights = np.bincount(places, parts, minlength=len(ids)) / self.norms.shape[1]
        found = np.zeros(len(self.norms), dtype=np.float32)
        self.whole.add(found, ids, weights)
        found[self.slots] = 0.0
        self.later.add(found, ids, weights)
        return found

    def between(self, terms: Ints, slot: int, others: Ints) -> Doubles:
        """float64[r]: the likeness of the item in `slot` to those in `others` int64[r]."""
        own = np.flatnonzero(terms[slot])
        own = own[np.argsort(terms[slot, own])]
        if not len(own):
            return np.zeros(len(others))
        ids = terms[slot, own]
        places = np.minimum(np.searchsorted(ids, terms[others]), len(own) - 1)
        lines, columns = np.nonzero(ids[places] == terms[others])
        shared = ids[places[lines, columns]]
        theirs = self._vectors(shared, others[lines], columns)
        products = theirs * self._vectors(shared, np.full(len(lines), slot), columns)
        sums = np.bincount(lines, products, minlength=len(others))
        found: Doubles = sums / self.norms.shape[1]
        return found

    def _vectors(self, ids: Ints, slots: Ints, columns: Ints) -> Doubles:
        """float64[n]: how much of its item's field each term is."""
        norms = self.norms[slots, self.owners[columns]]
        # A row that has come since has terms that its length does not know of.
        return np.divide(self._rarity(ids), norms, out=np.zeros(len(ids)), where=norms > 0)

    def _rarity(self, ids: Ints) -> Doubles:
        return self.whole.rarity(ids, float(_rarity(self.items, np.zeros(1))[0]))


def _rarity(items: int, counts: Ints | Doubles) -> Doubles:
    """float64[n]: how much terms tell that `counts` of the items have.

    >>> _rarity(99, np.array([0, 9, 99])).round(2).tolist()
    [5.61, 3.3, 1.0]
    """
    return np.log((1.0 + items) / (1.0 + counts)) + 1.0
