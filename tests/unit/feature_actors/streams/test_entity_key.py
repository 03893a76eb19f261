"""The schema of an integer key as text admits exactly the keys that a request may have."""

from __future__ import annotations

import re

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from freshrank.actors.errors import BadRecord
from freshrank.feature_actors.streams.entity_key import EntityKey
from freshrank.feature_actors.streams.stream import Entity, Stream


class Visit(msgspec.Struct):
    visit_id: str
    session: int
    at: int


session = Entity("session", key="session")
visits = Stream("visits", id="visit_id", time="at", key=session, schema=Visit)
KEY = EntityKey(visits.event_type, visits.fields, session.key)
SCHEMA = msgspec.json.schema(KEY.in_path)

NEAR_THE_BOUNDS = st.integers(-(10**21), 10**21) | st.integers(2**63 - 99, 2**63 + 99)


@given(NEAR_THE_BOUNDS.map(str) | NEAR_THE_BOUNDS.map(lambda number: str(-number)) | st.text())
@example("07")
@example("-0")
@example("+7")
@example(str(2**63 - 1))
@example(str(2**63))
@example(str(-(2**63)))
@example(str(-(2**63) - 1))
def test_a_text_is_a_key_if_the_schema_says_so(text: str) -> None:
    admitted = re.search(SCHEMA["pattern"], text, re.ASCII) is not None
    if text.endswith("\n"):
        return  # Python's `$` also matches before it; that of JSON schemas does not
    if admitted and len(text) <= SCHEMA["maxLength"]:
        assert KEY.canonical(text) == text
    else:
        with pytest.raises(BadRecord):
            KEY.canonical(text)


def test_a_refused_text_is_told_in_few_words() -> None:
    with pytest.raises(BadRecord) as caught:
        KEY.canonical("07" * 500)
    assert len(str(caught.value)) < 130
