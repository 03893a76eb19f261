"""What is like what the entity touched last, by the words and tags of a catalogue."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import msgspec
import pytest
from small_catalogue import START_MS, item, plan

from freshrank import Newest, SimilarContent, Table
from freshrank.actors.errors import ConfigError
from freshrank.actors.features.retrieval import CandidateOrigin, Filter, Query
from freshrank.actors.messages import Ints
from freshrank.feature_actors.connectors.in_memory.log import consecutive_records
from freshrank.feature_actors.retrieval.candidate_index import CandidateIndex
from freshrank.feature_actors.streams.table_codec import TableCodec, TableRecords


class Book(msgspec.Struct):
    item: str
    title: str | None = None
    genres: list[str] = []
    shelf: int | None = None
    price: float | None = None
    about: dict[str, str] = {}
    sizes: list[int] = []


BOOKS = Table("books", key=item, schema=Book)
BY_ALL = SimilarContent(words=["title"], tags=["genres", "shelf"])
NAME = "similar_content:title,genres,shelf"
SHELVES = [
    Book("wind", "The Wind in the Willows", ["animals", "classic"], 1),
    Book("snow", "Snow in the Wind", ["poems"], 1),
    Book("rats", "Rats", ["animals"], 2),
    Book("cook", "Cooking for Two", ["cooking"], 3),
    Book("bare"),
]


def index_of(books: Sequence[Book], source: SimilarContent = BY_ALL) -> CandidateIndex:
    made = replace(
        plan(), items=replace(plan().items, table=BOOKS), sources=[source], context=["item"]
    )
    index = CandidateIndex(made, most=10_000)
    take(index, *books)
    index.rebuild()
    return index


def take(index: CandidateIndex, *books: Book, gone: Sequence[str] = ()) -> None:
    names = [*[book.item for book in books], *gone]
    values = [*[msgspec.json.encode(book) for book in books], *[None for _ in gone]]
    batch = consecutive_records("books", 0, values, START_MS)
    records: TableRecords = TableCodec(BOOKS).decode(
        replace(batch, keys=[name.encode() for name in names])
    )
    index.take_records(records)


def like(index: CandidateIndex, *names: str, most: int = 100) -> list[str]:
    return list(index.retrieve(Query(most=most, at_ms=START_MS, items=names)).items)


def test_items_are_found_by_words_and_by_tags_the_most_like_first() -> None:
    index = index_of(SHELVES)
    assert index.similar == [NAME]
    # Of three fields: nearly half of the title and the shelf; some of the genres.
    assert like(index, "wind") == ["snow", "rats"]
    assert like(index, "rats") == ["wind"]
    assert like(index, "cook") == like(index, "bare") == []
    assert like(index, "wind", most=1) == ["snow"]
    assert like(index_of(SHELVES, SimilarContent(tags=["genres"])), "wind") == ["rats"]
    assert like(index_of(SHELVES, SimilarContent(words=["title"])), "wind") == ["snow"]


def test_lists_are_in_the_rows_of_answers_and_in_filters() -> None:
    index = index_of(SHELVES)
    wanted = Filter("genres", "in", ["poems", "classic"])
    found = index.retrieve(Query(most=9, at_ms=START_MS, items=["rats", "snow"], filters=[wanted]))
    assert list(found.items) == ["wind"]
    assert found.rows[0]["genres"] == ["animals", "classic"]
    assert index.lists == {"genres": str, "sizes": int}


def test_the_weight_is_the_likeness_and_that_of_an_equal_item_is_1() -> None:
    index = index_of([*SHELVES, replace_book(SHELVES[0], "copy")])
    found = index.retrieve(Query(most=9, at_ms=START_MS, items=["wind"]))
    assert list(found.items) == ["copy", "snow", "rats"]
    assert found.weights[0] == pytest.approx(1.0)
    assert 0.0 < found.weights[2] < found.weights[1] < 1.0


def replace_book(book: Book, name: str) -> Book:
    return msgspec.structs.replace(book, item=name)


def test_newer_items_of_the_entity_count_more_and_the_reasons_are_told() -> None:
    index = index_of(SHELVES)
    found = index.retrieve(Query(most=9, at_ms=START_MS, items=["rats", "snow", "bare"]))
    assert list(found.items) == ["wind"]
    assert list(found.origins[0]) == [CandidateOrigin(NAME, ["snow", "rats"])]
    twins = [Book("a", tags(1)), Book("b", tags(2)), Book("c", tags(1)), Book("d", tags(2))]
    index = index_of(twins, SimilarContent(words=["title"]))
    assert like(index, "a", "b") == ["c", "d"]
    assert like(index, "b", "a") == ["d", "c"]


def tags(number: int) -> str:
    return f"number{number}"


def test_an_item_that_nobody_touched_is_found_as_soon_as_its_row_is_there() -> None:
    index = index_of(SHELVES)
    take(index, Book("new", "The Willows", ["animals", "classic"], 1))
    assert like(index, "wind") == ["snow", "rats"]
    index.rebuild()
    assert like(index, "wind") == ["new", "snow", "rats"]


def test_an_item_that_left_is_not_found_nor_is_what_takes_its_slot_found_for_it() -> None:
    index = index_of(SHELVES)
    slot = index.catalogue.slot("snow")
    take(index, gone=["snow"])
    assert like(index, "wind") == ["rats"]
    take(index, Book("other", "Knitting"))
    assert index.catalogue.slot("other") == slot
    assert like(index, "wind") == ["rats"]
    assert like(index, "other") == []
    index.rebuild()
    assert like(index, "wind") == ["rats"]


def test_an_item_goes_with_its_row() -> None:
    index = index_of(SHELVES)
    take(index, Book("snow", "Snow", ["cooking"], 3))
    index.rebuild()
    assert like(index, "wind") == ["rats"]
    assert like(index, "snow") == ["cook"]


def test_rows_that_change_nothing_of_an_item_keep_it_found() -> None:
    index = index_of(SHELVES)
    snow = SHELVES[1]
    take(index, msgspec.structs.replace(snow, price=3.0))
    assert like(index, "wind") == ["snow", "rats"]


def test_an_item_that_takes_a_slot_while_rows_are_read_is_read_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    index = index_of(SHELVES)
    read = index.catalogue.rows

    def interrupted(slots: Ints) -> list[msgspec.Struct | None]:
        monkeypatch.setattr(index.catalogue, "rows", read)
        rows = read(slots)
        take(index, gone=["snow"])
        take(index, Book("other", "Willows in the Wind"))
        return rows

    monkeypatch.setattr(index.catalogue, "rows", interrupted)
    take(index, msgspec.structs.replace(SHELVES[1], price=3.0))
    index.rebuild()
    assert like(index, "wind") == ["rats"]
    assert index.stale == {NAME}
    index.rebuild()
    assert like(index, "wind") == ["other", "rats"]


def test_a_large_catalogue_takes_changes_bit_by_bit() -> None:
    books = [Book(f"b{number}", f"title{number // 2}") for number in range(1_500)]
    index = index_of(books, SimilarContent(words=["title"]))
    assert like(index, "b700") == ["b701"]
    take(index, Book("b701", "another"), Book("b9000", "Title350!"))
    index.rebuild()
    assert like(index, "b700") == ["b9000"]
    take(index, gone=["b9000"])
    index.rebuild()
    assert like(index, "b700") == []
    assert like(index, "b702") == ["b703"]


@pytest.mark.parametrize(
    ("source", "place", "says"),
    [
        (SimilarContent(), "here", "it names no field"),
        (SimilarContent(words="title"), "here.words", "'title' is no list"),
        (SimilarContent(tags="shelf"), "here.tags", "'shelf' is no list"),
        (SimilarContent(words=["titel"]), "here.words[0]", "mean 'title'"),
        (SimilarContent(words=["title", "shelf"]), "here.words[1]", "'shelf' is int"),
        (SimilarContent(words=["sizes"]), "here.words[0]", "'sizes' is a list of int"),
        (SimilarContent(tags=["price"]), "here.tags[0]", "Name a field of str or int, or a list"),
        (SimilarContent(tags=["about"]), "here.tags[0]", "| None, or a list of them."),
        (SimilarContent(tags=["genres", "genres"]), "here.tags[1]", "is there already"),
    ],
    ids=[
        "nothing", "words no list", "tags no list", "misspelt", "words of integers",
        "words of a list of integers", "tags of floats", "dictionary", "twice",
    ],
)  # fmt: skip
def test_each_mistake_is_named(source: SimilarContent, place: str, says: str) -> None:
    with pytest.raises(ConfigError) as caught:
        source.check(replace(plan().items, table=BOOKS), place="here")
    assert caught.value.place == place
    assert says in str(caught.value)
    assert caught.value.fix.endswith((".", "?"))


def test_its_terms_count_for_the_memory_of_a_replica() -> None:
    without, by_all = (
        replace(plan(), items=replace(plan().items, table=BOOKS), sources=[one], context=["item"])
        for one in (Newest(), BY_ALL)
    )
    # 32 words, 16 tags of a list and a tag.
    assert by_all.bytes_per_item - without.bytes_per_item == (32 + 16 + 1) * 24
