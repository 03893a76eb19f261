from __future__ import annotations

import msgspec
import numpy as np

from freshrank.feature_actors.retrieval.content.terms import MOST_TAGS, MOST_WORDS, TermEncoder
from freshrank.feature_actors.streams.columns import Columns
from freshrank.feature_actors.streams.fields import Fields


class Maker(msgspec.Struct):
    country: str


class Part(msgspec.Struct):
    made_of: str


class Thing(msgspec.Struct):
    title: str | None = None
    hints: list[str] = []
    tags: list[str] | None = None
    shelf: int | None = None
    maker: Maker | None = None
    parts: list[Part] = []


FIELDS = Fields(Thing, "things").with_elements


def encoded(
    *things: Thing, words: list[str] | None = None, tags: list[str] | None = None
) -> list[set[int]]:
    """The terms of each, without their order."""
    encoder = TermEncoder(FIELDS, words or [], tags or [])
    none = np.zeros(len(things), dtype=np.int64)
    found = encoder.encode(Columns.of_events(FIELDS, list(things), none, none))
    assert found.shape == (len(things), encoder.width)
    assert len(encoder.owners) == encoder.width
    lists = [row[row != 0].tolist() for row in found]
    assert all(len(set(one)) == len(one) for one in lists), "each once"
    return [set(one) for one in lists]


def test_the_words_of_a_text_are_terms_whatever_their_order() -> None:
    one, other, none, empty = encoded(
        Thing("The red Ball"), Thing("ball: RED, red"), Thing(), Thing(""), words=["title"]
    )
    assert (len(one), len(other)) == (3, 2)
    assert other < one
    assert none == empty == set()


def test_words_of_a_list_of_texts_are_those_of_all_its_texts() -> None:
    one, other, none = encoded(
        Thing(hints=["dry clean", "clean often"]), Thing(hints=["often dry"]), Thing(),
        words=["hints"],
    )  # fmt: skip
    assert (len(one), len(other), none) == (3, 2, set())
    assert other < one


def test_tags_count_as_they_are() -> None:
    one, other, none, empty = encoded(
        Thing(tags=["Sci-Fi", "War", "War"]), Thing(tags=["Sci", "war"]), Thing(), Thing(tags=[]),
        tags=["tags"],
    )  # fmt: skip
    assert (len(one), len(other)) == (2, 2)
    assert not one & other
    assert none == empty == set()


def test_integers_and_fields_of_structs_are_tags_too() -> None:
    one, other, none = encoded(
        Thing(shelf=0, maker=Maker("it"), parts=[Part("oak"), Part("steel")]),
        Thing(shelf=0, maker=Maker("fr"), parts=[Part("oak")]),
        Thing(),
        tags=["shelf", "maker.country", "parts.made_of"],
    )
    assert (len(one), len(other), len(one & other), none) == (4, 3, 2, set())


def test_the_same_text_in_two_fields_is_two_terms() -> None:
    (found,) = encoded(
        Thing("red", hints=["red"], tags=["red"]), words=["title", "hints"], tags=["tags", "title"]
    )
    assert len(found) == 4


def test_only_the_first_words_and_tags_count() -> None:
    many = [f"w{number}" for number in range(MOST_WORDS + 9)]
    long, short = encoded(
        Thing(" ".join(many), tags=many), Thing(" ".join(many[:3]), tags=many[:2]),
        words=["title"], tags=["tags"],
    )  # fmt: skip
    assert len(long) == MOST_WORDS + MOST_TAGS
    assert short < long
