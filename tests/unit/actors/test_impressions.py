import msgspec
import numpy as np
import pytest

from freshrank.actors.errors import BadRecord
from freshrank.actors.impressions import (
    Impression,
    decode_impression,
    encode_impression,
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
