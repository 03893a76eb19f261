"""The texts that a request, or the catalogue's rows of its items, tell the hashes of."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from freshrank.actors.features.retrieval import Retriever
from freshrank.actors.features.service import Candidates
from freshrank.actors.kernels.hashing import hash_texts
from freshrank.actors.protocols import JsonValue


def known_texts(key: str, candidates: Candidates, retriever: Retriever | None) -> dict[int, str]:
    """By their hashes, the texts of a request for the entity `key`, and of rows of its items."""
    given = [value for column in candidates.values() for value in column]
    texts = {key, *_texts(given)}
    if retriever is not None:
        # Whatever is called as an item: a text that belongs to no hash does no harm.
        names = list(dict.fromkeys(str(value) for value in given if isinstance(value, str | int)))
        for row in retriever.look_up(names).rows:
            texts.update(_texts([*row.values()]))
    found = sorted(texts)
    return dict(zip(hash_texts(found).tolist(), found, strict=True))


def with_texts(value: JsonValue, known: Mapping[int, str]) -> JsonValue:
    """The same value, with the texts of those hashes in it that are `known`.

    >>> with_texts([{"id": 5, "weight": 1.0, "hash_of": "genre"}], {5: "jazz"})
    [{'id': 5, 'weight': 1.0, 'value': 'jazz'}]
    """
    if isinstance(value, str):
        return value
    if isinstance(value, Sequence):
        return [with_texts(one, known) for one in value]
    if not isinstance(value, Mapping):
        return value
    if "hash_of" in value and (text := known.get(_id(value))) is not None:
        return {"id": value["id"], "weight": value["weight"], "value": text}
    return {name: with_texts(one, known) for name, one in value.items()}


def hashes_in(value: JsonValue) -> Iterator[int]:
    """The ids in a value that are hashes of texts.

    >>> [*hashes_in([{"id": 5, "weight": 1.0, "hash_of": "genre"}, {"id": 7, "weight": 1.0}])]
    [5]
    """
    if isinstance(value, Mapping):
        if "hash_of" in value:
            yield _id(value)
        else:
            yield from hashes_in([*value.values()])
    elif isinstance(value, Sequence) and not isinstance(value, str):
        for one in value:
            yield from hashes_in(one)


def _id(entry: Mapping[str, JsonValue]) -> int:
    found = entry["id"]
    assert isinstance(found, int)
    return found


def _texts(values: object) -> Iterator[str]:
    if isinstance(values, str):
        yield values
    elif isinstance(values, Sequence):
        for one in values:
            yield from _texts(one)
