"""SimilarContent: the items whose texts and tags are like those of what the entity touched last."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from freshrank.actors.errors import ConfigError
from freshrank.actors.messages import Ints
from freshrank.feature_actors.retrieval.base import (
    NOTHING,
    Ask,
    CandidateSource,
    Found,
    ItemFeatures,
    SourceIndex,
    greatest,
)
from freshrank.feature_actors.retrieval.catalogue import ItemCatalogue
from freshrank.feature_actors.retrieval.content.likeness import Likeness
from freshrank.feature_actors.retrieval.content.terms import TermEncoder
from freshrank.feature_actors.retrieval.slot_arrays import grown
from freshrank.feature_actors.retrieval.sources.last_users import MOST_RECENT, strongest
from freshrank.feature_actors.streams.columns import Columns
from freshrank.feature_actors.streams.fields import Kind

# Items whose terms are made at once.
_CHUNK = 500
# Bytes of a term of an item: its id, and its two places in postings while these are made anew.
_TERM_BYTES = 24


@dataclass(frozen=True)
class SimilarContent(CandidateSource):
    """The items that are like those which the entity touched last, by words and tags.

    They come from the rows of the catalogue alone, so an item that nobody has touched yet is found
    as soon as its row is read. An item weighs the mean of its likenesses to the entity's last
    items (see `Likeness`), of which the ``j``-th newest counts ``1 / √j``. All items that share a
    word or a tag are compared.

    Parameters
    ----------
    words
        Fields of the catalogue, of texts or lists of texts, each of whose words counts (a title).
    tags
        Fields of texts or integers, or of lists of them, whose values count as they are (a
        category, genres).
    """

    words: Sequence[str] = ()
    tags: Sequence[str] = ()
    similar = True

    @property
    def name(self) -> str:
        """Such as ``similar_content:title,genres``."""
        return f"similar_content:{','.join([*self.words, *self.tags])}"

    def check(self, items: ItemFeatures, place: str) -> None:
        """Raise ConfigError for a field that is not there, or has another type."""
        fields = items.fields.with_elements
        for role, names in (("words", self.words), ("tags", self.tags)):
            if isinstance(names, str):
                raise ConfigError(f"{place}.{role}", f"{names!r} is no list", f'Write ["{names}"].')
            for number, name in enumerate(names):
                here = f"{place}.{role}[{number}]"
                kinds = (Kind.TEXT,) if role == "words" else (Kind.TEXT, Kind.INTEGER)
                fields.require(name, here, *kinds)
                if name in names[:number]:
                    raise ConfigError(here, f"{name!r} is there already", "Leave it out.")
        if not [*self.words, *self.tags]:
            raise ConfigError(place, "it names no field", 'Write words=["title"] or tags=["kind"].')

    def index(self, items: ItemFeatures, catalogue: ItemCatalogue) -> SourceIndex:
        """A new index."""
        return _ContentIndex(
            TermEncoder(items.fields.with_elements, self.words, self.tags), catalogue
        )


class _ContentIndex(SourceIndex):
    """The terms of each item, and all items by term."""

    def __init__(self, encoder: TermEncoder, catalogue: ItemCatalogue) -> None:
        self.bytes_per_item = _TERM_BYTES * encoder.width
        self._encoder = encoder
        self._catalogue = catalogue
        self._terms: Ints = np.zeros((0, encoder.width), dtype=np.int64)
        self._built = _Built(Likeness.of(self._terms, encoder.owners), np.zeros(0, dtype=np.int64))

    def rebuild(self) -> None:
        """Read the rows that have changed, and look for their terms."""
        # Before the rows: one that comes meanwhile is read again.
        revisions = self._catalogue.revisions.copy()
        changed = np.flatnonzero(revisions != grown(self._built.revisions, len(revisions)))
        if not len(changed):
            return
        terms = grown(self._terms, len(revisions))
        for begin in range(0, len(changed), _CHUNK):
            self._read(terms, changed[begin : begin + _CHUNK])
        likeness = self._built.likeness.changed(terms, changed)
        likeness.to(terms, changed[:1], np.ones(1))  # compiles what requests would wait for
        self._terms, self._built = terms, _Built(likeness, revisions)

    def _read(self, terms: Ints, slots: Ints) -> None:
        """Put the terms of the rows in `slots` into `terms` int64[s, w]."""
        rows = self._catalogue.rows(slots)
        there = np.array([row is not None for row in rows], dtype=np.bool_)
        kept = [row for row in rows if row is not None]
        none = np.zeros(len(kept), dtype=np.int64)
        columns = Columns.of_events(self._catalogue.table.fields, kept, none, none)
        terms[slots[~there]] = 0
        terms[slots[there]] = self._encoder.encode(columns)

    def find(self, ask: Ask) -> Found:
        """The items that are most alike and are allowed, without the recent ones."""
        built = self._built
        recent = self._of_now(ask.recent, built)[:MOST_RECENT]
        if not len(recent):
            return NOTHING
        shares = 1.0 / np.sqrt(np.arange(1.0, len(recent) + 1.0))
        found = built.likeness.to(self._terms, recent, shares / shares.sum())
        found[~ask.allowed[: len(found)]] = 0.0
        found[ask.recent[ask.recent < len(found)]] = 0.0
        best = self._of_now(greatest(found, ask.most), built)
        return Found(best, found[best].astype(np.float64))

    def because(self, slot: int, recent: Ints) -> Ints:
        """The items that are most like that in `slot`."""
        built = self._built
        recent = self._of_now(recent, built)[:MOST_RECENT]
        return strongest(recent, built.likeness.between(self._terms, slot, recent))

    def _of_now(self, slots: Ints, built: _Built) -> Ints:
        """int64[m]: those of `slots` whose present item is the one that terms are known of."""
        slots = slots[slots < len(built.revisions)]
        return slots[built.revisions[slots] >= self._catalogue.since[slots]]


class _Built(NamedTuple):
    """What requests are answered from; a thread replaces it as a whole."""

    likeness: Likeness
    revisions: Ints
    """int64[s]: those that the rows had at least."""
