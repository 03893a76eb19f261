"""Vectors of items, by the users who touched them: the leading directions of a sparse matrix."""

from __future__ import annotations

import numpy as np

from freshrank.actors.kernels.compile import lean_kernel
from freshrank.actors.messages import Doubles, Floats, Ints
from freshrank.feature_actors.retrieval.slot_arrays import filled

# Rounds from random vectors until lists of neighbours do not change any more, and from vectors of
# a moment ago, which the same few events separate from those wanted.
_FIRST_ROUNDS, _NEXT_ROUNDS = 6, 1
# Of what items and users have in common counts less what they have much of. The exponents are those
# of `CoVisited` for users, and of `FollowedBy` for items.
_USERS, _ITEMS = -0.5, -0.25
# Directions that are less than this share of the greatest are rounding.
_LEAST = 1e-6


@lean_kernel
def _add_rows(into: Floats, to: Ints, rows: Floats, of: Ints, weights: Floats) -> None:
    for pair in range(len(to)):
        for column in range(rows.shape[1]):
            into[to[pair], column] += weights[pair] * rows[of[pair], column]


def item_vectors(users: Ints, dim: int, before: Floats | None = None) -> Floats:
    """float32[s, dim]: a vector for each item, which is near those of the same users' items.

    PureSVD (Cremonesi, Koren, Turrin: "Performance of recommender algorithms on top-N
    recommendation tasks", RecSys 2010): the columns are orthonormal, and span the leading singular
    vectors of the matrix of items and users, found by subspace iteration (Halko, Martinsson,
    Tropp: "Finding structure with randomness", SIAM Review 2011). What items have in common is the
    product of their vectors. An item without a user has zeros.

    Parameters
    ----------
    users
        int64[s, w]: for each item the ids of users who touched it, each once; 0: none.
    dim
        Numbers of a vector.
    before
        float32[<= s, dim]: the vectors of a moment ago, to go on from.

    >>> vectors = item_vectors(np.array([[1, 2], [1, 2], [3, 4], [3, 4], [0, 0]]), dim=2)
    >>> abs(vectors @ vectors.T).round(2).tolist()[0]
    [0.5, 0.5, 0.0, 0.0, 0.0]
    """
    items, entries = filled(users)
    _, people = np.unique(users[items, entries], return_inverse=True)
    weights = _counted(people, _USERS) * _counted(items, _ITEMS)
    found = np.zeros((len(users), dim), dtype=np.float32)
    rounds = _FIRST_ROUNDS
    if before is not None and before.any():
        found[: len(before)] = before
        rounds = _NEXT_ROUNDS
    else:
        found[:] = np.random.Generator(np.random.PCG64(0)).normal(size=found.shape)
    of_people = np.zeros((int(people.max(initial=-1)) + 1, dim), dtype=np.float32)
    for _ in range(rounds):
        of_people[:] = 0.0
        _add_rows(of_people, people, found, items, weights)
        found[:] = 0.0
        _add_rows(found, items, of_people, people, weights)
        found = _orthonormal(found)
    return found


def _counted(places: Ints, exponent: float) -> Floats:
    """float32[p]: how often each of `places` comes, to the power of `exponent`."""
    counts = np.bincount(places).astype(np.float32)
    return np.maximum(counts, 1.0)[places] ** np.float32(exponent)


def _orthonormal(vectors: Floats) -> Floats:
    """float32[s, dim]: orthonormal columns that span those of `vectors`; zeros for what is less."""
    gram: Doubles = (vectors.T @ vectors).astype(np.float64)
    sizes, directions = np.linalg.eigh(gram)
    kept = sizes > _LEAST * max(float(sizes[-1]), 1e-30)
    rates = np.where(kept, 1.0 / np.sqrt(np.where(kept, sizes, 1.0)), 0.0)
    found: Floats = vectors @ (directions * rates).astype(np.float32)
    return found
