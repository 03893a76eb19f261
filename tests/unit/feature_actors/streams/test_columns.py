import numpy as np
import pytest
from naive import Behaviour, columns_of

from freshrank.actors.errors import ConfigError
from freshrank.actors.kernels.hashing import ZERO_INTEGER_ID, hash_text

EVENTS = [
    Behaviour("e1", "u1", 5, item_id=0, category="a", price=1.5, quantity=None),
    Behaviour("e2", "u2", 6, item_id=2**62 + 1, category=None, price=None, quantity=0),
    Behaviour("e3", "u1", 7, item_id=-3, category="b\0", price=-2.0, quantity=9),
]


def test_text_and_integers_are_ids_and_none_is_absent() -> None:
    columns = columns_of(EVENTS)
    assert columns.hashed("category").tolist() == [hash_text("a"), 0, hash_text("b\0")]
    assert columns.hashed("item_id").tolist() == [ZERO_INTEGER_ID, 2**62 + 1, -3]
    assert columns.hashed("quantity").tolist() == [0, ZERO_INTEGER_ID, 9]


def test_numbers_are_float64_and_none_is_nan() -> None:
    columns = columns_of(EVENTS)
    np.testing.assert_array_equal(columns.number("price"), [1.5, np.nan, -2.0])
    np.testing.assert_array_equal(columns.number("quantity"), [np.nan, 0.0, 9.0])
    assert columns.number("item_id").dtype == np.float64


def test_text_of_integers_is_their_digits() -> None:
    columns = columns_of(EVENTS)
    assert columns.text("user_id") == ["u1", "u2", "u1"]
    assert columns.text("item_id") == ["0", str(2**62 + 1), "-3"]
    assert columns.text("category") == ["a", "", "b\0"]


def test_taking_events_takes_every_column() -> None:
    columns = columns_of(EVENTS, first_offset=10)
    early = columns.hashed("category"), columns.number("price"), columns.text("user_id")
    taken = columns.take(np.array([2, 0]))
    assert len(taken) == 2
    assert taken.offsets.tolist() == [12, 10]
    assert taken.event_times_ms.tolist() == [7, 5]
    assert taken.hashed("category").tolist() == early[0][[2, 0]].tolist()
    assert taken.number("price").tolist() == [-2.0, 1.5]
    assert taken.text("user_id") == ["u1", "u1"]
    assert taken.hashed("item_id").tolist() == [-3, ZERO_INTEGER_ID]


@pytest.mark.parametrize("read_before", [True, False])
def test_the_events_between_two_places_have_every_column(read_before: bool) -> None:
    columns = columns_of(EVENTS, first_offset=10)
    if read_before:
        columns.hashed("category"), columns.number("price"), columns.text("user_id")
    found = columns.between(1, 3)
    assert found.offsets.tolist() == [11, 12]
    assert found.event_times_ms.tolist() == [6, 7]
    assert found.hashed("category").tolist() == [0, hash_text("b\0")]
    np.testing.assert_array_equal(found.number("price"), [np.nan, -2.0])
    assert found.text("user_id") == ["u2", "u1"]
    assert columns.between(0, 3) is columns


def test_what_a_field_cannot_be_is_an_error() -> None:
    columns = columns_of(EVENTS)
    with pytest.raises(ConfigError, match="a float is not an id"):
        columns.hashed("price")
    with pytest.raises(ConfigError, match="text is not a number"):
        columns.number("type")
    with pytest.raises(ConfigError, match=r"no field 'prise'.*'price'"):
        columns.number("prise")
