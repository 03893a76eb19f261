"""Ranks items by popularity, item-kNN, implicit ALS and LightGBM LambdaMART, event by event.

    python peer_rankers.py FILE.npz

It needs Python and what `ranker_requirements.txt` beside it names, which it installs by pip into an
environment of its own (``~/.cache/freshrank/peer_rankers``; ``--environment`` names another). FILE
has the arrays of ``n`` touches, the oldest first: ``users``, ``items`` and ``categories`` (int64,
from 0), ``times_ms``, ``asked`` (bool), and whether there are ``repeats``. Before each touch that
is ``asked``, each ranker gives the 20 best of the items that were touched before, without those of
the user unless there are repeats. FILE.ranks.json has, by ranker, the place of the touched item in
each list (from 1; 0: it is not there), and the seconds.

Counts and the user's own items are those of the moment, for all rankers. Similarities, factors and
trees are trained anew at the first list of each day, of all touches before it.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import time
from collections import deque
from pathlib import Path
from typing import Any, TypeAlias

# Arrays of NumPy, which the Python that makes the environment need not have.
Ints: TypeAlias = Any
Doubles: TypeAlias = Any

ENVIRONMENT = Path.home() / ".cache" / "freshrank" / "peer_rankers"
REQUIREMENTS = Path(__file__).resolve().with_name("ranker_requirements.txt")
LENGTH = 20
"""Items of a list."""
DAY_MS = 86_400_000
# Popularity counts the touches of so many days; 0: all.
_WINDOWS = {"popularity": 0, "popularity_7d": 7}
# LambdaMART ranks the best of item-kNN and of two popularities, so many of each, and is trained on
# the newest lists.
_CANDIDATES, _TRAINED_LISTS = 50, 3_000


class TouchHistory:
    """What was touched so far."""

    def __init__(self, arrays: dict[str, Any]) -> None:
        np = importlib.import_module("numpy")
        self.users, self.items, self.times_ms = (
            arrays[name].tolist() for name in ("users", "items", "times_ms")
        )
        self.end = 0
        """How many touches are known."""
        self.user_count, self.item_count = max(self.users) + 1, max(self.items) + 1
        self.own: list[dict[int, None]] = [{} for _ in range(self.user_count)]
        """By user, the items in the order of the last touch of each."""
        self.repeats = bool(arrays["repeats"])
        self.counts = {name: np.zeros(self.item_count) for name in _WINDOWS}
        """By popularity, float64[i]."""
        self.categories = np.zeros(self.item_count, dtype=np.int64)
        self._categories = arrays["categories"]
        self._recent = {name: deque[int]() for name in _WINDOWS}

    def add(self) -> None:
        """Take the next touch."""
        place, self.end = self.end, self.end + 1
        user, item = self.users[place], self.items[place]
        self.own[user].pop(item, None)
        self.own[user][item] = None
        self.categories[item] = self._categories[place]
        for name, days in _WINDOWS.items():
            self.counts[name][item] += 1
            if days:
                self._recent[name].append(place)

    def forget_until(self, at_ms: int) -> None:
        """Take touches that have left the windows at `at_ms` out of the counts."""
        for name, days in _WINDOWS.items():
            recent = self._recent[name]
            while recent and self.times_ms[recent[0]] < at_ms - days * DAY_MS:
                self.counts[name][self.items[recent.popleft()]] -= 1

    def unwanted(self, user: int) -> list[int]:
        """The items that a list of the user may not have."""
        return [] if self.repeats else list(self.own[user])

    def matrix(self) -> Any:
        """A sparse matrix of users and items, 1 where one touched the other."""
        np, sparse = (importlib.import_module(name) for name in ("numpy", "scipy.sparse"))
        users, items = self.users[: self.end], self.items[: self.end]
        shape = self.user_count, self.item_count
        found = sparse.csr_matrix((np.ones(len(users)), (users, items)), shape=shape)
        found.data[:] = 1.0
        return found


class Popularity:
    """Ranks by the number of touches, of all users. A ranker has these three methods."""

    def __init__(self, history: TouchHistory, window: str = "popularity") -> None:
        self.history = history
        self._window = window

    def train(self) -> None:
        """Learn from all touches that are known."""

    def scores(self, user: int) -> Doubles:
        """float64[i]: the scores of all items, of which only the order matters."""
        return self.history.counts[self._window]

    def learn(self, user: int, item: int) -> None:
        """Take what was touched after a list was wanted."""


class ItemKnn(Popularity):
    """The cosine similarity of items by their users, summed over the user's last items.

    Sarwar et al., "Item-based collaborative filtering recommendation algorithms", WWW 2001.
    """

    def __init__(self, history: TouchHistory, last: int) -> None:
        super().__init__(history)
        self._last = last
        self._similar: Any = None

    def train(self) -> None:
        """Compute all similarities."""
        np, sparse = (importlib.import_module(name) for name in ("numpy", "scipy.sparse"))
        touched = self.history.matrix()
        norms = np.sqrt(np.asarray(touched.sum(axis=0)).ravel())
        scaled = touched @ sparse.diags(1.0 / np.maximum(norms, 1.0))
        self._similar = (scaled.T @ scaled).toarray()

    def scores(self, user: int) -> Doubles:
        """Sums of similarities; beyond them the popular items."""
        own = list(self.history.own[user])[-self._last :]
        return self._similar[own].sum(axis=0) + 1e-9 * self.history.counts["popularity"]


class Als(Popularity):
    """Factors of users and items, by alternating least squares.

    Hu, Koren and Volinsky, "Collaborative filtering for implicit feedback datasets", ICDM 2008; a
    user's factors are solved anew from the user's own items for each list.
    """

    def train(self) -> None:
        """Solve for all factors."""
        als = importlib.import_module("implicit.als")
        self._model = als.AlternatingLeastSquares(
            factors=64, regularization=0.1, alpha=10.0, iterations=15, random_state=0
        )
        self._model.fit(self.history.matrix().astype("float32"), show_progress=False)

    def scores(self, user: int) -> Doubles:
        """Products of the factors; without any touch the popular items."""
        np, sparse = (importlib.import_module(name) for name in ("numpy", "scipy.sparse"))
        own = list(self.history.own[user])
        if not own:
            return self.history.counts["popularity"]
        touched, shape = np.ones(len(own), "float32"), (1, self.history.item_count)
        row = sparse.csr_matrix((touched, ([0] * len(own), own)), shape)
        factors = self._model.recalculate_user(0, row)
        return (self._model.item_factors @ factors.ravel()).astype(np.float64)


class LambdaMart(Popularity):
    """Trees that rank the candidates of item-kNN and of popularity by counts and similarities.

    Burges, "From RankNet to LambdaRank to LambdaMART", Microsoft Research 2010; by LightGBM.
    """

    def __init__(self, history: TouchHistory, neighbours: tuple[ItemKnn, ItemKnn]) -> None:
        super().__init__(history)
        self._neighbours = neighbours
        self._lists = deque[tuple[Any, Any]](maxlen=_TRAINED_LISTS)
        self._model: Any = None
        self._last: tuple[Ints, Doubles] | None = None

    def train(self) -> None:
        """Train on the newest lists whose touched item was among the candidates."""
        np, lightgbm = (importlib.import_module(name) for name in ("numpy", "lightgbm"))
        if len(self._lists) < 20:
            return
        inputs = np.concatenate([inputs for inputs, _ in self._lists])
        labels = np.concatenate([labels for _, labels in self._lists])
        data = lightgbm.Dataset(inputs, labels, group=[len(one) for one, _ in self._lists])
        options = {
            "objective": "lambdarank", "lambdarank_truncation_level": LENGTH + 10,
            "learning_rate": 0.1, "num_leaves": 15, "min_data_in_leaf": 20, "verbose": -1,
        }  # fmt: skip
        self._model = lightgbm.train(options, data, 60)

    def scores(self, user: int) -> Doubles:
        """Those of the candidates, above all others; item-kNN's until trees are trained."""
        np = importlib.import_module("numpy")
        history, own = self.history, list(self.history.own[user])
        columns = [*(one.scores(user) for one in self._neighbours), *history.counts.values()]
        left = np.stack(columns)
        left[:, history.unwanted(user)] = -np.inf
        best = np.argpartition(-left, _CANDIDATES, axis=1)[:, :_CANDIDATES]
        candidates = np.unique(best)
        candidates = candidates[left[0, candidates] > -np.inf]
        categories = history.categories
        shared = np.bincount(categories[own], minlength=categories.max() + 1)[categories]
        latest = np.zeros(history.item_count)
        latest[own[::-1]] = 1.0 / np.arange(1.0, len(own) + 1.0)
        columns += [shared, np.full(history.item_count, len(own)), latest]
        inputs = np.stack(columns, axis=1)[candidates]
        self._last = candidates, inputs
        if self._model is None:
            return columns[0]
        found = np.full(history.item_count, -np.inf)
        found[candidates] = self._model.predict(inputs)
        return found

    def learn(self, user: int, item: int) -> None:
        """Keep the last list, if the item is among its candidates."""
        if self._last is not None and item in self._last[0]:
            candidates, inputs = self._last
            self._lists.append((inputs, (candidates == item).astype("float32")))


def place_of(item: int, scores: Any, wanted: Any) -> int:
    """The place of `item` among the best that are `wanted`, from 1; 0 where it is not in the list.

    Items of equal scores stand in the order of their numbers.
    """
    np = importlib.import_module("numpy")
    left = np.where(wanted, scores, -np.inf)
    if left[item] == -np.inf:
        return 0
    before = int((left > left[item]).sum() + (left[:item] == left[item]).sum())
    return before + 1 if before < LENGTH else 0


def ranked(arrays: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """By ranker, the places of the items that were touched, and the seconds of all its work."""
    history = TouchHistory(arrays)
    near, whole = ItemKnn(history, 20), ItemKnn(history, 1_000_000)
    found: dict[str, Popularity] = {name: Popularity(history, name) for name in _WINDOWS}
    found |= {"item_knn": whole, "item_knn_last_20": near, "als": Als(history)}
    found["lambdamart"] = LambdaMart(history, (near, whole))
    places: dict[str, list[int]] = {name: [] for name in found}
    seconds = dict.fromkeys(found, 0.0)
    day = -1
    for place, asked in enumerate(arrays["asked"].tolist()):
        user, item, at_ms = (one[place] for one in (history.users, history.items, history.times_ms))
        if asked and history.end:
            history.forget_until(at_ms)
            wanted = history.counts["popularity"] > 0
            wanted[history.unwanted(user)] = False
            for name, ranker in found.items():
                begun = time.perf_counter()
                if day != at_ms // DAY_MS:
                    ranker.train()
                places[name].append(place_of(item, ranker.scores(user), wanted))
                ranker.learn(user, item)
                seconds[name] += time.perf_counter() - begun
            day = at_ms // DAY_MS
        elif asked:
            for each in places.values():
                each.append(0)  # nothing is known yet
        history.add()
    return {name: {"ranks": places[name], "seconds": seconds[name]} for name in found}


def main() -> None:
    """Rank the file of the command line, by the Python of the environment."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("file", type=Path)
    parser.add_argument("--environment", type=Path, default=ENVIRONMENT)
    given = parser.parse_args()
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # as `implicit` asks for
    environments = importlib.import_module("environments")
    environments.enter(given.environment, REQUIREMENTS, __file__)
    with importlib.import_module("numpy").load(given.file) as arrays:
        found = ranked(dict(arrays))
    given.file.with_suffix(".ranks.json").write_text(json.dumps(found), encoding="utf-8")


if __name__ == "__main__":
    main()
