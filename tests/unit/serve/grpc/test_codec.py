"""Each message of the API says what its JSON says."""

from __future__ import annotations

import math
from typing import Any

import msgspec
import pytest
from fake_retriever import FakeRetriever, item
from grpc_calls import local_calls
from hypothesis import given, settings
from hypothesis import strategies as st
from serving import ReplicaUnderTest

from freshrank.actors.errors import RequestError
from freshrank.serve.grpc.codec import MessageCodec
from freshrank.serve.grpc.shapes import VALUE, Kind, Message, MessageField, Scalar, Shapes

LOCAL = local_calls(ReplicaUnderTest(retriever=FakeRetriever({"3": item()})))
MESSAGES = [*LOCAL.calls.messages]

INTEGERS = st.integers(-(2**63), 2**63 - 1)
NUMBERS = st.floats(allow_nan=False)
TEXTS = st.text(st.characters(codec="utf-8"), max_size=4)
JSON = st.recursive(
    st.none() | st.booleans() | INTEGERS | NUMBERS | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=5,
)
SCALARS: dict[Scalar, st.SearchStrategy[Any]] = {
    Scalar.BOOL: st.booleans(),
    Scalar.INT: INTEGERS,
    Scalar.DOUBLE: NUMBERS,
    Scalar.STRING: TEXTS,
}


def values(kind: Kind) -> st.SearchStrategy[Any]:
    """What JSON may have for a kind; of a field that is not there nothing."""
    if kind is VALUE:
        return JSON
    if isinstance(kind, Scalar):
        return SCALARS[kind]
    if kind.boxed:
        inside = field_values(kind.fields[0])
        return st.none() | inside if kind.fields[0].many == "one" else inside
    sure = {one.name: field_values(one) for one in kind.fields if one.always}
    free = {one.name: field_values(one, least=1) for one in kind.fields if not one.always}
    return st.fixed_dictionaries(sure, optional=free)


def field_values(field: MessageField, least: int = 0) -> st.SearchStrategy[Any]:
    """What JSON may have for a field; of lists and maps as many elements as `least`, or more."""
    one = values(field.kind)
    if field.nulls:
        one = st.none() | one
    if field.many == "list":
        return st.lists(one, min_size=least, max_size=3)
    if field.many == "map":
        return st.dictionaries(TEXTS, one, min_size=least, max_size=3)
    return st.none() | one if field.always and field.kind is not VALUE else one


@pytest.mark.parametrize("shape", MESSAGES, ids=lambda shape: shape.name)
@settings(max_examples=25)
@given(data=st.data())
def test_a_message_says_what_its_json_says(shape: Message, data: st.DataObject) -> None:
    said = data.draw(values(shape))
    encode, decode = LOCAL.codec.encoder(shape), LOCAL.codec.decoder(shape)
    found = decode(encode(said))
    assert found == said
    # 1 and 1.0 are equal in Python, and not the same in JSON.
    assert msgspec.json.encode(found, order="deterministic") == msgspec.json.encode(
        said, order="deterministic"
    )


def test_integers_stay_integers_as_far_as_64_bits_go() -> None:
    encode, decode = LOCAL.codec.encoder(VALUE), LOCAL.codec.decoder(VALUE)
    for whole in (2**53 + 1, 2**63 - 1, -(2**63)):
        assert decode(encode(whole)) == whole
    assert decode(encode(2**63)) == float(2**63)
    assert isinstance(decode(encode(3.0)), float)


def test_null_in_a_list_of_numbers_is_nan() -> None:
    shapes = Shapes()
    shape = shapes.named("Scores", "", {"scores": (list[float | None], True)})
    codec = MessageCodec(shapes.messages.values())
    message: Any = codec.types["Scores"].FromString(codec.encoder(shape)({"scores": [1.0, None]}))
    assert message.scores[0] == 1.0 and math.isnan(message.scores[1])


def test_a_value_of_which_nothing_is_set_is_null() -> None:
    assert LOCAL.codec.decoder(VALUE)(b"") is None


def test_bytes_that_are_no_message_are_refused() -> None:
    with pytest.raises(RequestError, match=r"body: not a Value in protobuf: .*/freshrank\.proto"):
        LOCAL.codec.decoder(VALUE)(b"\xff")
