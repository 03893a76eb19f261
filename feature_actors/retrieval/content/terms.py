"""Terms: the words and the tags of items, as ids."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from freshrank.actors.kernels.hashing import ABSENT, hash_text, hash_texts, mix_columns
from freshrank.actors.messages import Ints
from freshrank.feature_actors.retrieval.content.words import words
from freshrank.feature_actors.retrieval.slot_arrays import side_by_side
from freshrank.feature_actors.streams.columns import Columns
from freshrank.feature_actors.streams.fields import Fields

MOST_WORDS = 32
"""Words of a field that count, the first ones."""
MOST_TAGS = 16
"""Tags of a list that count, the first ones."""


class _TermsOfField(NamedTuple):
    """Where the terms of a field stand."""

    field: str
    words: bool
    """Whether its texts are taken apart."""
    begin: int
    """The first of its columns."""
    width: int


class TermEncoder:
    """Makes the terms of items from the rows of a catalogue.

    Parameters
    ----------
    fields
        Those of the catalogue.
    words
        Names of fields of texts, or of lists of texts, each of whose words is a term.
    tags
        Names of fields of texts or integers, or of lists of them, each of whose values is a term.
    """

    def __init__(self, fields: Fields, words: Sequence[str], tags: Sequence[str]) -> None:
        self._parts: list[_TermsOfField] = []
        self.width = 0
        """Columns of terms: as many as an item can have."""
        for place, name in enumerate([*words, *tags]):
            is_text = place < len(words)
            width = MOST_WORDS if is_text else MOST_TAGS if fields[name].each else 1
            self._parts.append(_TermsOfField(name, is_text, self.width, width))
            self.width += width
        widths = [part.width for part in self._parts]
        self.owners: Ints = np.repeat(np.arange(len(widths)), widths)
        """int64[width]: by column, the number of its field."""
        kinds = ["words" if part.words else "tags" for part in self._parts]
        salts = [
            hash_text(f"{kind}:{part.field}") for kind, part in zip(kinds, self._parts, strict=True)
        ]
        self._salts: Ints = np.array(salts, dtype=np.int64)[self.owners]

    def encode(self, columns: Columns) -> Ints:
        """int64[n, width]: for each row the terms of its fields, each once; 0: none.

        A term is of one field: the same text in another is another term.
        """
        ids = np.zeros((len(columns), self.width), dtype=np.int64)
        for part in self._parts:
            own = _ids_of_words(columns, part) if part.words else _ids_of_tags(columns, part)
            own.sort(axis=1)
            own[:, 1:][own[:, 1:] == own[:, :-1]] = ABSENT
            ids[:, part.begin : part.begin + part.width] = own
        found = np.empty_like(ids)
        mix_columns(ids, ids[:, :0], self._salts, found)
        return found


def _ids_of_words(columns: Columns, part: _TermsOfField) -> Ints:
    each = columns.fields[part.field].each
    if each:
        elements = columns.elements(each)
        texts = [""] * len(columns)
        for owner, text in zip(elements.owners.tolist(), elements.text(part.field), strict=True):
            texts[owner] = f"{texts[owner]} {text}"
    else:
        texts = columns.text(part.field)
    lists = [words(text)[: part.width] for text in texts]
    ids = hash_texts([word for one in lists for word in one])
    owners = np.repeat(np.arange(len(lists)), [len(one) for one in lists])
    return side_by_side(ids, owners, len(lists), part.width)


def _ids_of_tags(columns: Columns, part: _TermsOfField) -> Ints:
    each = columns.fields[part.field].each
    if not each:
        return columns.hashed(part.field)[:, None].copy()
    elements = columns.elements(each)
    ids = elements.hashed(part.field)
    return side_by_side(ids, elements.owners, len(columns), part.width)
