"""Texts are found by their hashes while the catalogue holds them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from small_catalogue import START_MS, catalogue, item, table_records

from freshrank import Table
from freshrank.actors.kernels.hashing import hash_text
from freshrank.feature_actors.connectors.in_memory.log import consecutive_records
from freshrank.feature_actors.retrieval import catalogue_texts
from freshrank.feature_actors.retrieval.catalogue import ItemCatalogue
from freshrank.feature_actors.retrieval.catalogue_texts import CatalogueTexts
from freshrank.feature_actors.streams.table_codec import TableCodec

TEXTS = ["i0", "i1", "i2", "a", "b", "c"]
changes = st.lists(
    st.tuples(
        st.sampled_from(TEXTS[:3]),
        st.none() | st.fixed_dictionaries({"brand": st.none() | st.sampled_from(TEXTS[3:])}),
    ),
    max_size=12,
)


class Film(msgspec.Struct):
    item: int
    cast: list[str | None] | None = None


def found(items: ItemCatalogue, texts: Sequence[str]) -> set[str]:
    by_hash = CatalogueTexts(items).of([hash_text(text) for text in texts])
    assert all(hash_text(text) == id_ for id_, text in by_hash.items())
    return set(by_hash.values())


@given(changes)
def test_the_texts_of_present_rows_are_found_and_no_others(
    rows: Sequence[tuple[str, Mapping[str, object] | None]],
) -> None:
    items = ItemCatalogue(catalogue, most=100)
    present: dict[str, Mapping[str, object]] = {}
    for name, row in rows:
        items.take(table_records([(name, row)]))
        present.pop(name, None)
        if row is not None:
            present[name] = row
    brands = {row["brand"] for row in present.values()} - {None}
    assert found(items, [*TEXTS, "other"]) == {*present, *brands}


def test_texts_of_lists_are_found_and_integer_keys_are_no_texts() -> None:
    films = Table("films", key=item, schema=Film)
    items = ItemCatalogue(films, most=100)
    rows = [Film(7, ["Ada", None]), Film(8), Film(9, ["Bo", "Ada"])]
    batch = consecutive_records("films", 0, [msgspec.json.encode(row) for row in rows], START_MS)
    items.take(TableCodec(films).decode(replace(batch, keys=[b"7", b"8", b"9"])))
    assert found(items, ["Ada", "Bo", "7", "Cy"]) == {"Ada", "Bo"}


def test_what_one_call_seeks_in_rows_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(catalogue_texts, "MOST_SOUGHT", 2)
    items = ItemCatalogue(catalogue, most=100)
    items.take(table_records([("i0", {"brand": "a"}), ("i1", {"brand": "b"})]))
    assert found(items, ["x", "i0", "a", "i1", "b"]) == {"i0", "i1", "a"}
