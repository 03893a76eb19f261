"""The texts that the hashes in rows of features stand for, as far as the catalogue holds them."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any

import msgspec
import numpy as np

from freshrank.actors.kernels.hashing import hash_text
from freshrank.actors.messages import Bools
from freshrank.feature_actors.retrieval.catalogue import ItemCatalogue
from freshrank.feature_actors.streams.fields import Field, Kind
from freshrank.feature_actors.streams.lines.field_columns import reader

MOST_SOUGHT = 64
"""Hashes of one call that are sought in the fields of rows: each is a pass over all items, 0.1 ms
for a field of 100,000. Keys are found without one."""


class CatalogueTexts:
    """Finds texts by their hashes: keys of items, and what fields and lists of their rows hold.

    It may be asked in a thread of its own, while rows change.
    """

    def __init__(self, catalogue: ItemCatalogue) -> None:
        self._catalogue = catalogue
        self._fields = _text_readers(catalogue.table.fields)
        self._lists = _text_readers(catalogue.lists)

    def of(self, ids: Collection[int]) -> Mapping[int, str]:
        """Those of `ids` that are hashes of texts here, with the texts.

        Of a list the first `MOST_LISTED` values count.
        """
        found: dict[int, str] = {}
        for id_ in ids:
            found.update((id_, text) for text in self._called(id_) if hash_text(text) == id_)
        for id_ in [one for one in ids if one not in found][:MOST_SOUGHT]:
            # A slot may have got another row since its ids were compared.
            text = next((text for text in self._held(id_) if hash_text(text) == id_), None)
            if text is not None:
                found[id_] = text
        return found

    def _called(self, id_: int) -> Iterator[str]:
        slots = self._catalogue.slots_of_ids(np.array([id_], dtype=np.int64))
        yield from (self._catalogue.names[slot] for slot in slots.tolist())

    def _held(self, id_: int) -> Iterator[str]:
        for name, read in self._fields.items():
            for row in self._rows(self._catalogue.ids(name) == id_):
                if (text := read(row)) is not None:
                    yield text
        for name, read in self._lists.items():
            for row in self._rows((self._catalogue.listed_ids(name) == id_).any(axis=0)):
                yield from (text for text in read(row) or () if text is not None)

    def _rows(self, which: Bools) -> Iterator[msgspec.Struct]:
        slots = np.flatnonzero(which)
        for place in range(len(slots)):  # mostly the first is right
            (row,) = self._catalogue.rows(slots[place : place + 1])
            if row is not None:
                yield row


def _text_readers(fields: Mapping[str, Field]) -> Mapping[str, Callable[[Any], Any]]:
    return {
        name: reader(name, optional=field.optional)
        for name, field in fields.items()
        if field.kind is Kind.TEXT
    }
