import numpy as np
import pytest
import xxhash
from hypothesis import given, settings
from hypothesis import strategies as st

from freshrank.actors.kernels.hashing import (
    ABSENT,
    ZERO_INTEGER_ID,
    hash_ints,
    hash_text,
    hash_texts,
    mix,
    mix_columns,
)
from freshrank.actors.messages import Ints


def signed(digest: int) -> int:
    return digest - 2**64 if digest >= 2**63 else digest


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=80), max_size=10))
@settings(max_examples=50)
def test_many_texts_hash_as_the_library_hashes_each(texts: list[str]) -> None:
    wanted = [signed(xxhash.xxh64_intdigest(text.encode())) for text in texts]
    assert hash_texts(texts).tolist() == wanted
    assert [hash_text(text) for text in texts] == wanted


@pytest.mark.parametrize("length", [*range(34), 63, 64, 65, 1_000])
def test_each_length_takes_its_own_path_to_the_same_hash(length: int) -> None:
    text = "".join(chr(ord("a") + place % 26) for place in range(length))
    assert hash_texts([text, text]).tolist() == [hash_text(text)] * 2


def test_texts_that_hold_the_separator_are_told_apart() -> None:
    texts = ["a\0b", "a", "b", "\0", ""]
    assert hash_texts(texts).tolist() == [hash_text(text) for text in texts]
    assert len(set(hash_texts(texts).tolist())) == 5


def test_a_missing_separator_and_an_extra_one_do_not_cancel_out() -> None:
    assert hash_texts(["a\0b", "c"]).tolist() == [hash_text("a\0b"), hash_text("c")]


def test_no_integer_hashes_to_absent() -> None:
    values = np.array([0, 1, -1, 2**63 - 1, -(2**63)])
    assert hash_ints(values).tolist() == [ZERO_INTEGER_ID, 1, -1, 2**63 - 1, -(2**63)]
    assert ABSENT not in hash_ints(values)


def test_mixing_spreads_neighbours_and_minds_the_order() -> None:
    mixed = {int(mix(np.int64(a), np.int64(b))) for a in range(100) for b in range(100)}
    assert len(mixed) == 10_000
    assert ABSENT not in mixed
    low_bits = np.bincount([one & 15 for one in mixed], minlength=16)
    assert low_bits.min() > 500  # 625 expected


def salted(left: Ints, right: Ints, salts: Ints) -> Ints:
    out = np.empty_like(left)
    mix_columns(left, right, salts, out)
    return out


@given(st.lists(st.tuples(*[st.integers(0, 2)] * 5), min_size=1, max_size=8))
def test_columns_are_salted_and_crossed_value_by_value(rows: list[tuple[int, ...]]) -> None:
    table = np.array(rows, dtype=np.int64)
    left, right, salts = table[:, :3], table[:, 3:], np.array([11, 12, 13])
    out = salted(np.ascontiguousarray(left), np.ascontiguousarray(right), salts)
    for i, row in enumerate(rows):
        own, first, second, other_first, other_second = row
        assert out[i, 0] == (mix(np.int64(11), np.int64(own)) if own else ABSENT)
        for j, (a, b) in enumerate([(first, other_first), (second, other_second)]):
            cross = mix(mix(salts[1 + j], np.int64(a)), np.int64(b)) if a and b else ABSENT
            assert out[i, 1 + j] == cross


def test_one_value_under_two_salts_is_two_ids() -> None:
    left = np.array([[5, 5]])
    out = salted(left, np.empty((1, 0), dtype=np.int64), np.array([1, 2]))
    assert out[0, 0] != out[0, 1]
