"""Hashes are shown as the texts that a request, or the rows of its items, tell."""

from __future__ import annotations

from fake_retriever import FakeRetriever, item

from freshrank.actors.kernels.hashing import hash_text
from freshrank.serve.explanation.known_texts import known_texts, with_texts


def entry(text: str, field: str) -> dict[str, int | float | str]:
    return {"id": hash_text(text), "weight": 0.5, "hash_of": field}


def test_texts_of_the_request_and_of_the_rows_of_its_items_are_shown() -> None:
    retriever = FakeRetriever({"7": item(brand="Ahle"), "8": item(brand="Bock")})
    known = known_texts("ann", {"item_id": [7, 9], "note": ["n1", None]}, retriever)
    assert set(known.values()) == {"ann", "n1", "Ahle"}
    for text in ("ann", "n1", "Ahle"):
        shown = with_texts({"side": [entry(text, "brand")]}, known)
        assert shown == {"side": [{"id": hash_text(text), "weight": 0.5, "value": text}]}


def test_other_hashes_and_values_stay_as_they_are() -> None:
    known = known_texts("ann", {"item_id": [7]}, None)
    for value in ([entry("Ahle", "brand")], 1.5, None, "a text", {"id": 5, "weight": 1.0}, True):
        assert with_texts(value, known) == value
