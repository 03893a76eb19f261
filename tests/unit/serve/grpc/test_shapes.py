"""Messages are made from types: by their shape, and under numbers that stay."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
import pytest

from freshrank.serve.grpc.field_names import field_numbers
from freshrank.serve.grpc.shapes import Message, Shapes


class Inner(msgspec.Struct):
    """Something inside.

    And more about it.
    """

    id: int


class Tagged(msgspec.Struct, tag="a"):
    id: int


class Tree(msgspec.Struct):
    left: Tree | None
    leaves: list[Inner]


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        (bool, "bool"),
        (int, "int64"),
        (float, "double"),
        (Annotated[str, msgspec.Meta(max_length=3)], "string"),
        (Literal["a", "b"], "string"),
        (Literal[1, 2], "Value"),
        (int | None, "int64"),
        (int | str, "Value"),
        (Any, "Value"),
        (Tagged, "Value"),
        (Inner, "Inner"),
        (Inner | None, "Inner"),
        (list[int], "list of int64"),
        (list[Inner], "list of Inner"),
        (list[float | None], "list of double, NaN for null"),
        (list[int | None], "list of OptionalInt"),
        (list[list[int]], "list of IntList"),
        (list[dict[str, float] | None], "list of OptionalDoubleMap"),
        (dict[str, int], "map of int64"),
        (dict[str, dict[str, int]], "map of IntMap"),
        (dict[str, dict[str, float | None]], "map of NullableDoubleMap"),
        (dict[str, Any], "map of Value"),
        (dict[int, str], "Value"),
    ],
)
def test_the_shape_of_a_field(kind: Any, expected: str) -> None:
    message = Shapes().named("Case", "", {"value": (kind, True)})
    (field,) = message.fields
    one = field.kind.name if isinstance(field.kind, Message) else field.kind.value
    many = "" if field.many == "one" else f"{field.many} of "
    assert f"{many}{one}{', NaN for null' if field.nulls else ''}" == expected


def test_null_that_differs_from_no_value_is_a_value() -> None:
    class Given(msgspec.Struct):
        same: int | None = None
        other: int | None = 3
        unset: int | msgspec.UnsetType | None = msgspec.UNSET

    kinds = [field.kind.label for field in Shapes().of(Given).fields]
    assert kinds == ["Int", "Value", "Value"]


def test_a_type_has_one_message_also_where_it_contains_itself() -> None:
    shapes = Shapes()
    tree = shapes.of(Tree)
    left, leaves = tree.fields
    assert left.kind is tree is shapes.of(Tree)
    assert leaves.kind is shapes.of(Inner)
    assert shapes.of(Inner).about == "Something inside."


def test_messages_of_different_types_have_different_names() -> None:
    other = msgspec.defstruct("Inner", [("id", str)])
    shapes = Shapes()
    assert [shapes.of(kind).name for kind in (Inner, other, Inner)] == ["Inner", "Inner2", "Inner"]


def test_any_name_of_a_field_has_an_identifier() -> None:
    names = ["lambda", "in stock", "in-stock", "größe", "_id", "3d", ""]
    message = Shapes().named("Case", "", dict.fromkeys(names, (int, True)))
    identifiers = [field.identifier for field in message.fields]
    assert identifiers[:1] == ["lambda"]
    assert len(set(identifiers)) == len(names)
    assert all(one.isascii() and one.isidentifier() for one in identifiers)


def test_a_field_keeps_its_number_whatever_stands_beside_it() -> None:
    alone = field_numbers(["price"])["price"]
    among = field_numbers([f"field_{number}" for number in range(50)] + ["price"])
    assert among["price"] == alone
    assert len(set(among.values())) == 51
    assert all(1 <= number < 2**18 for number in among.values())


def test_no_two_fields_have_a_number_and_none_a_reserved_one() -> None:
    assert field_numbers("cab", digest=lambda _: 4) == {"a": 5, "b": 6, "c": 7}
    assert field_numbers("ab", digest=lambda _: 18_999) == {"a": 20_000, "b": 20_001}
    assert field_numbers("ab", digest=lambda _: 2**18 - 2) == {"a": 2**18 - 1, "b": 1}
