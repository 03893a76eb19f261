import msgspec
import numpy as np
import pytest

from freshrank.actors.errors import BadRecord
from freshrank.actors.impressions import (
    ExploredItems,
    Impression,
    decode_impression,
    encode_impression,
    served_draws,
    served_rows,
)
from freshrank.actors.messages import Inputs


def an_impression() -> tuple[Impression, np.ndarray, Inputs]:
    keys = np.array([11, -12, 13], dtype=np.int64)
    inputs = Inputs(
        np.arange(6, dtype=np.float32).reshape(3, 2),
        np.arange(12, dtype=np.int64).reshape(3, 4) - 5,
    )
    impression = Impression(
        request_id="r",
        entity="u1",
        at_ms=1_700_000_000_000,
        version="1.5",
        layout="abc",
        join_keys=keys.tobytes(),
        dense=inputs.dense.tobytes(),
        ids=inputs.ids.tobytes(),
        scores=np.array([0.25, 0.5, 0.75], np.float32).tobytes(),
    )
    return impression, keys, inputs


def test_the_rows_that_were_served_come_back_bit_for_bit() -> None:
    impression, keys, inputs = an_impression()
    again = decode_impression(encode_impression(impression))
    assert again == impression
    read_keys, read_inputs, scores = served_rows(again, dense_width=2, id_width=4)
    np.testing.assert_array_equal(scores, np.array([0.25, 0.5, 0.75], np.float32))
    np.testing.assert_array_equal(read_keys, keys)
    np.testing.assert_array_equal(read_inputs.dense, inputs.dense)
    np.testing.assert_array_equal(read_inputs.ids, inputs.ids)


def test_an_impression_of_the_versions_before_has_no_outage_and_no_scores() -> None:
    impression, _, _ = an_impression()
    before = msgspec.msgpack.encode(msgspec.msgpack.decode(encode_impression(impression))[:8])
    read = decode_impression(before)
    assert read == msgspec.structs.replace(impression, scores=b"")
    assert not read.outage
    assert np.isnan(served_rows(read, 2, 4).scores).all()


def test_an_impression_without_arms_and_draws_is_read() -> None:
    impression, _, _ = an_impression()
    before = msgspec.msgpack.encode(msgspec.msgpack.decode(encode_impression(impression))[:11])
    read = decode_impression(before)
    assert read == impression
    assert (read.arms, served_draws(read)) == ({}, None)


def with_draws(**changes: bytes) -> Impression:
    impression, _, _ = an_impression()
    explored = ExploredItems(
        np.array([1.0, 0.5, 0.25], np.float32).tobytes(),
        np.array([True, False, True]).tobytes(),
        np.array([0.25, 0.75, 0.75], np.float32).tobytes(),
    )
    explored = msgspec.structs.replace(explored, **changes)
    return msgspec.structs.replace(impression, arms={"sources": "fresh"}, explored=explored)


def test_arms_and_draws_come_back() -> None:
    read = decode_impression(encode_impression(with_draws()))
    assert read == with_draws()
    draws = served_draws(read)
    assert draws is not None
    assert draws.propensities.tolist() == [1.0, 0.5, 0.25]
    assert draws.greedy.tolist() == [True, False, True]
    assert draws.greedy_scores.tolist() == [0.25, 0.75, 0.75]


@pytest.mark.parametrize(
    "changes",
    [
        {"propensities": b""},
        {"greedy": b"\x01"},
        {"greedy_scores": b"\x00" * 16},
        {"propensities": np.array([1, 0, 1], np.float32).tobytes()},
        {"propensities": np.array([1, 1.5, 1], np.float32).tobytes()},
        {"propensities": np.array([1, np.nan, 1], np.float32).tobytes()},
        {"greedy_scores": np.array([1, np.inf, 1], np.float32).tobytes()},
    ],
)
def test_draws_that_are_none_are_a_bad_record(changes: dict[str, bytes]) -> None:
    with pytest.raises(BadRecord, match="impression: draws"):
        served_draws(with_draws(**changes))


def test_rows_can_be_changed_without_touching_the_payload() -> None:
    impression, _, _ = an_impression()
    keys, inputs, _ = served_rows(impression, 2, 4)
    keys[0], inputs.dense[0, 0], inputs.ids[0, 0] = 1, 1, 1
    assert served_rows(impression, 2, 4)[1].dense[0, 0] == 0


@pytest.mark.parametrize("payload", [b"", b"{}", b"\x93\x01\x02\x03", b"\xff" * 40])
def test_a_payload_that_is_no_impression_is_a_bad_record(payload: bytes) -> None:
    with pytest.raises(BadRecord, match="not an impression"):
        decode_impression(payload)


@pytest.mark.parametrize("field", ["join_keys", "dense", "ids", "scores"])
def test_arrays_of_different_lengths_are_a_bad_record(field: str) -> None:
    impression, _, _ = an_impression()
    broken = msgspec.structs.replace(impression, **{field: getattr(impression, field)[:-1]})
    with pytest.raises(BadRecord, match="different lengths"):
        served_rows(broken, 2, 4)
