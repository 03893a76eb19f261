"""Where the features of one entity lie in its row, and the program that computes them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from freshrank.actors.messages import IdField, Ints
from freshrank.feature_actors.aggregations import dispatch as kernels
from freshrank.feature_actors.aggregations.windows import Window
from freshrank.feature_actors.streams.expressions import Expression


@dataclass(frozen=True, slots=True)
class Bag:
    """A feature that is a bag of ids of the schema's field `source`."""

    field: IdField
    source: str


@dataclass(frozen=True, slots=True)
class Placed:
    """One line of the plan's description."""

    name: str
    words: int
    hop_ms: int
    """0 where nothing snaps to tiles."""
    keeps_ms: int | None
    """How long an event can matter; None: for ever."""


class Layout:
    """Collects what the aggregates claim; conditions and inputs that are alike are shared."""

    def __init__(self) -> None:
        self.words = kernels.HEADER_WORDS
        self.columns: list[str] = []
        """Numeric features, in order of their output columns."""
        self.seconds: list[bool] = []
        """Whether each numeric feature is a time since."""
        self.bags: list[Bag] = []
        self.numbers: list[str] = []
        """Fields that are read as numbers, in order of the kernel's lines."""
        self.keys: list[str] = []
        """Fields that are read as ids, likewise."""
        self.conditions: dict[str, Expression] = {}
        """By their text, in order of the kernel's masks."""
        self.placed: list[Placed] = []
        self.never: list[int] = []
        """Words that hold -1 in an empty row: an offset or a time that never was."""
        self._program: list[list[int]] = []
        self._id_width = 0
        self.never.append(kernels.OFFSET)

    @property
    def program(self) -> Ints:
        """int64[o, 8]."""
        return np.array(self._program, dtype=np.int64).reshape(-1, kernels.PROGRAM_WIDTH)

    @property
    def empty_row(self) -> Ints:
        """int64[words]: the row of an entity without events (floats are read through a view)."""
        row = np.zeros(self.words, dtype=np.int64)
        row[self.never] = -1
        return row

    def windowed(
        self, name: str, kind: int, where: Expression | None, of: str | None, window: Window
    ) -> None:
        """A ring of tiles: a count's take half a word each, a mean's one and a half."""
        count_words = -(-window.tiles // 2)
        words = {kernels.COUNT: count_words, kernels.SUM: window.tiles}.get(
            kind, window.tiles + count_words
        )
        source = 0 if of is None else _index(self.numbers, of)
        self._line(kind, window.tiles, where, source, (window.hop_ms, window.length_ms))
        kept = window.tiles * window.hop_ms
        self._claim(f"{name}_{window.text}", words, window.hop_ms, kept)
        self._number(f"{name}_{window.text}", seconds=False)

    def time_since(self, name: str, where: Expression | None) -> None:
        """One word."""
        self._line(kernels.TIME_SINCE, 1, where, 0, (0, 0))
        self.never.append(self.words)
        self._claim(name, 1, 0, None)
        self._number(name, seconds=True)

    def last_k(self, name: str, where: Expression | None, of: str, k: int) -> None:
        """`k` ids and `k` times."""
        self._line(kernels.LAST_K, k, where, _index(self.keys, of), (0, 0))
        self._claim(name, 2 * k, 0, None)
        self._bag(name, of, k)

    def decayed(
        self, name: str, where: Expression | None, by: str, top_and_half_life_ms: tuple[int, int]
    ) -> None:
        """A reference time, `top` ids and `top` values."""
        top, half_life_ms = top_and_half_life_ms
        self._line(kernels.DECAYED, top, where, _index(self.keys, by), (0, half_life_ms))
        kept = int(kernels.FORGOTTEN_HALF_LIVES * half_life_ms)
        self._claim(name, 1 + 2 * top, 0, kept)
        self._bag(name, by, top)

    def _line(
        self, kind: int, size: int, where: Expression | None, source: int, spans: tuple[int, int]
    ) -> None:
        """Append a program line that writes where the next output of its sort will be."""
        mask = -1
        if where is not None:
            self.conditions.setdefault(str(where), where)
            mask = list(self.conditions).index(str(where))
        out = self._id_width if kind >= kernels.LAST_K else len(self.columns)
        self._program.append([kind, self.words, size, mask, source, *spans, out])

    def _claim(self, name: str, words: int, hop_ms: int, keeps_ms: int | None) -> None:
        self.words += words
        self.placed.append(Placed(name, words, hop_ms, keeps_ms))

    def _number(self, name: str, *, seconds: bool) -> None:
        self.columns.append(name)
        self.seconds.append(seconds)

    def _bag(self, name: str, source: str, width: int) -> None:
        self.bags.append(Bag(IdField(name, width), source))
        self._id_width += width


def _index(names: list[str], name: str) -> int:
    if name not in names:
        names.append(name)
    return names.index(name)
