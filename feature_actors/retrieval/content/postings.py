"""An inverted index: for each term the items that have it, and how much of each item it is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from freshrank.actors.kernels.compile import lean_kernel
from freshrank.actors.messages import Bools, Doubles, Floats, Ints

MOST_READ = 500_000
"""Postings that are read for a query: a millisecond of a slow core. Twenty of 100,000 items with a
title, some tags and a category have fewer, so that none is left out."""


@lean_kernel
def _add(
    sums: Floats,
    begins: Ints,
    ends: Ints,
    weights: Floats,
    slots: NDArray[np.int32],
    shares: Floats,
) -> None:
    for term in range(len(begins)):
        weight = weights[term]
        for place in range(begins[term], ends[term]):
            sums[slots[place]] += weight * shares[place]


@dataclass(frozen=True)
class Postings:
    """The items of each term, in the order of their slots; `of` makes it."""

    terms: Ints
    """int64[v], ascending."""
    begins: Ints
    """int64[v + 1]: where the items of each term begin, of ``p``."""
    rarities: Doubles
    """float64[v]: how much each term tells."""
    slots: NDArray[np.int32]
    """int32[p]."""
    shares: Floats
    """float32[p]: how much of the item's field the term is; the squares of a field's sum to 1."""
    norms: Doubles
    """float64[m, f]: by item and field, the length of its vector of rarities; 0: it is empty."""

    @staticmethod
    def of(
        terms: Ints, slots: Ints, owners: Ints, rarity: Callable[[Ints, Ints], Doubles]
    ) -> Postings:
        """The postings of items.

        Parameters
        ----------
        terms
            int64[m, w]: the terms of each, as `TermEncoder` gives them.
        slots
            int64[m]: the slot of each.
        owners
            int64[w]: by column of `terms`, the number of its field.
        rarity
            What each of the terms int64[v] tells, by how many of the items have it, int64[v].
        """
        fields = int(owners[-1]) + 1
        lines, columns = np.nonzero(terms)
        ids = terms[lines, columns]
        order = np.argsort(ids, kind="stable")
        ids, lines, columns = ids[order], lines[order], columns[order]
        firsts = np.flatnonzero(np.concatenate([[True], ids[1:] != ids[:-1]])[: len(ids)])
        begins = np.append(firsts, len(ids))
        counts = np.diff(begins)
        rarities = rarity(ids[firsts], counts)
        lengths = np.repeat(rarities, counts)
        places = lines * fields + owners[columns]
        norms = np.sqrt(np.bincount(places, lengths**2, minlength=len(terms) * fields))
        return Postings(
            ids[firsts],
            begins,
            rarities,
            slots[lines].astype(np.int32),
            (lengths / norms[places]).astype(np.float32),
            norms.reshape(-1, fields),
        )

    def rarity(self, terms: Ints, unseen: float) -> Doubles:
        """float64[n]: how much `terms` int64[n] tell; `unseen`, where it has no item of them."""
        found = np.full(len(terms), unseen)
        places, known = self._find(terms)
        found[known] = self.rarities[places[known]]
        return found

    def add(self, sums: Floats, terms: Ints, weights: Doubles) -> None:
        """Add to `sums` float32[s] of each item the product with `weights` float64[n] of `terms`.

        Where that is too much to read, those of the greatest weights are read.
        """
        places, known = self._find(terms)
        places, weights = places[known], weights[known]
        begins, counts = self.begins[places], self.begins[places + 1] - self.begins[places]
        if counts.sum() > MOST_READ:
            order = np.argsort(-weights, kind="stable")
            begins, counts, weights = begins[order], counts[order], weights[order]
            counts = np.clip(MOST_READ - (np.cumsum(counts) - counts), 0, counts)
        _add(sums, begins, begins + counts, weights.astype(np.float32), self.slots, self.shares)

    def _find(self, terms: Ints) -> tuple[Ints, Bools]:
        """Where `terms` int64[n] stand, and which are here; of others the place means nothing."""
        if not len(self.terms):
            return np.zeros_like(terms), np.zeros(len(terms), dtype=np.bool_)
        places = np.minimum(np.searchsorted(self.terms, terms), len(self.terms) - 1)
        return places, self.terms[places] == terms
