"""Each id of several parts has one text, and no two have the same."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from freshrank.actors.errors import BadRecord
from freshrank.feature_actors.streams.keys.compound_key import (
    compound_ids,
    part_faults,
    parts_of,
)

# Texts of the characters that the form gives a meaning, and of others.
TEXTS = st.text(st.sampled_from("ab:~01\0ü")) | st.text(max_size=12)
IDS = st.lists(TEXTS, min_size=2, max_size=3)


@given(IDS)
def test_the_text_of_an_id_gives_its_parts_back(parts: list[str]) -> None:
    (text,) = compound_ids([[part] for part in parts])
    assert parts_of(text, len(parts)) == parts


@given(st.lists(st.tuples(TEXTS, TEXTS), min_size=1, max_size=20))
def test_no_two_pairs_have_one_text(pairs: list[tuple[str, str]]) -> None:
    texts = compound_ids(list(zip(*pairs, strict=True)))
    assert len(set(texts)) == len(set(pairs))
    alone = [compound_ids([[one], [other]])[0] for one, other in pairs]
    assert texts == alone, "what the others in a batch are changes nothing"


@given(st.text(st.sampled_from("a:~012")))
def test_a_text_is_refused_unless_it_is_that_of_an_id(text: str) -> None:
    try:
        parts = parts_of(text, 2)
    except BadRecord:
        return
    assert compound_ids([[part] for part in parts]) == [text]


@pytest.mark.parametrize("text", ["", "a", "a:b:c", "a~:b", "a:b~2", "~a:b"])
def test_the_reason_says_how_an_id_is_written(text: str) -> None:
    with pytest.raises(BadRecord, match="in a part '~1' stands for ':' and '~0' for '~'"):
        parts_of(text, 2)


def test_a_part_that_is_missing_is_told_from_one_that_is_too_long() -> None:
    faults = part_faults([["a", "", "x" * 257, "x" * 256], ["", "b", "c", "d"]])
    assert faults.missing.tolist() == [True, True, False, False]
    assert faults.too_long.tolist() == [False, False, True, False]
    assert faults.any.tolist() == [True, True, True, False]
