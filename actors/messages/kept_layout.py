"""What the columns of a model's inputs mean, as files keep it; and rows carried over to others."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import msgspec
import numpy as np

from freshrank.actors.messages.arrays import Floats, Ints
from freshrank.actors.messages.model_inputs import IdField, InputLayout, Inputs


class KeptLayout(msgspec.Struct, frozen=True):
    """The columns of input rows: a column is the same where name, width and meaning are."""

    dense: tuple[tuple[str, str], ...]
    """Of each number its name, and what it is made of."""
    fields: tuple[tuple[str, int, str], ...]
    """Of each id field its name, its width in columns, and what it is made of."""

    @classmethod
    def of(cls, layout: InputLayout) -> KeptLayout:
        """That of a layout. Where it has no meanings, it is names and cleaning that tell.

        >>> from freshrank.actors.messages import IdField
        >>> KeptLayout.of(InputLayout(("price",), (IdField("item"),), meanings=("p", "i")))
        KeptLayout(dense=(('price', 'p'),), fields=(('item', 1, 'i'),))
        """
        meanings = layout.meanings or _cleaned(layout)
        of_fields = zip(layout.fields, meanings[len(layout.dense) :], strict=True)
        return cls(
            tuple(zip(layout.dense, meanings, strict=False)),
            tuple((one.name, one.width, meaning) for one, meaning in of_fields),
        )

    @property
    def layout(self) -> InputLayout:
        """A layout of these columns, without what is done to their values."""
        fields = tuple(IdField(name, width) for name, width, _ in self.fields)
        meanings = [meaning for _, meaning in self.dense]
        meanings += [meaning for _, _, meaning in self.fields]
        names = tuple(name for name, _ in self.dense)
        return InputLayout(names, fields, meanings=tuple(meanings))


@dataclass(frozen=True)
class LayoutChange:
    """From rows of inputs of one layout to those of another.

    >>> from freshrank.actors.messages import IdField
    >>> was = KeptLayout((("a", ""), ("b", "")), (("item", 1, ""),))
    >>> now = InputLayout(("b", "c"), (IdField("user"), IdField("item")), absent=(0.0, 1.0))
    >>> rows = Inputs(np.array([[1.0, 2.0]], np.float32), np.array([[7]]))
    >>> carried = LayoutChange(was, now).inputs(rows)
    >>> carried.dense.tolist(), carried.ids.tolist()
    ([[2.0, 1.0]], [[0, 7]])
    >>> LayoutChange(was, now).fields.tolist()
    [-1, 0]
    """

    before: KeptLayout
    now: InputLayout

    @cached_property
    def dense(self) -> Ints:
        """int64[d]: the column that each number had; -1 for those that are new, or changed."""
        places = {named: place for place, named in enumerate(self.before.dense)}
        return _array([places.get(named, -1) for named in KeptLayout.of(self.now).dense])

    @cached_property
    def fields(self) -> Ints:
        """int64[F]: the place that each id field had; -1 for those that are new, or changed."""
        places = {named: place for place, named in enumerate(self.before.fields)}
        return _array([places.get(named, -1) for named in KeptLayout.of(self.now).fields])

    @cached_property
    def ids(self) -> Ints:
        """int64[f]: the column that each id had; -1 for those that are new, or changed."""
        begins: dict[tuple[str, int, str], int] = {}
        begin = 0
        for named in self.before.fields:
            begins[named] = begin
            begin += named[1]
        found: list[int] = []
        for named in KeptLayout.of(self.now).fields:
            first = begins.get(named)
            columns = range(named[1])
            found += [-1 if first is None else first + column for column in columns]
        return _array(found)

    @property
    def widths(self) -> tuple[int, int]:
        """``d`` and ``f`` of the rows of before."""
        return len(self.before.dense), sum(width for _, width, _ in self.before.fields)

    def inputs(self, rows: Inputs) -> Inputs:
        """The rows with the columns of now: what they do not carry is missing."""
        return Inputs(self.numbers(rows.dense), self.id_rows(rows.ids))

    def numbers(self, dense: Floats) -> Floats:
        """float32[n, d] from float32[n, d of before]."""
        absent = self.now.absent or (0.0,) * len(self.now.dense)
        found = np.tile(np.array(absent, dtype=np.float32), (len(dense), 1))
        kept = self.dense >= 0
        found[:, kept] = dense[:, self.dense[kept]]
        return found

    def id_rows(self, ids: Ints) -> Ints:
        """int64[n, f] from int64[n, f of before]."""
        found = np.zeros((len(ids), len(self.ids)), dtype=np.int64)
        kept = self.ids >= 0
        found[:, kept] = ids[:, self.ids[kept]]
        return found


def _cleaned(layout: InputLayout) -> tuple[str, ...]:
    """What is done to each of the numbers, and to those whose buckets each id field takes."""
    numbers = [(name,) for name in layout.dense] + [field.buckets for field in layout.fields]
    return tuple(
        ", ".join(repr(one) for one in layout.cleaning if one.name in names) for names in numbers
    )


def _array(places: list[int]) -> Ints:
    return np.array(places, dtype=np.int64)
