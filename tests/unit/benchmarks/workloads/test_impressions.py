import numpy as np
import pytest
from small_shop import START_MS, spec

from freshrank.actors.impressions import decode_impression, encode_impression, served_rows
from freshrank.actors.kernels.hashing import hash_ints
from freshrank.benchmarks.workloads.impressions import impression_of

ENCODER = spec().encoder
WIDTH = len(ENCODER.layout.dense)


def test_a_joiner_reads_the_items_and_the_inputs_of_each() -> None:
    dense = np.arange(2 * WIDTH, dtype=np.float32).reshape(2, WIDTH)
    made = impression_of(ENCODER, "u1", [7, 9], START_MS, "r1", dense)
    read = decode_impression(encode_impression(made))
    assert (read.request_id, read.entity, read.at_ms) == ("r1", "u1", START_MS)
    assert read.layout == ENCODER.fingerprint
    keys, inputs, _ = served_rows(read, WIDTH, ENCODER.layout.id_width)
    assert keys.tolist() == hash_ints(np.array([7, 9])).tolist()
    assert inputs.dense.tolist() == dense.tolist()
    assert [set(row) for row in inputs.ids.tolist()] == [{7}, {9}]


def test_dense_inputs_are_zeros_unless_given_and_must_have_the_layouts_shape() -> None:
    made = impression_of(ENCODER, "u1", [7], START_MS)
    _, inputs, _ = served_rows(made, WIDTH, ENCODER.layout.id_width)
    assert inputs.dense.tolist() == [[0.0] * WIDTH]
    with pytest.raises(AssertionError, match="the layout has"):
        impression_of(ENCODER, "u1", [7], START_MS, dense=np.zeros((2, WIDTH), dtype=np.float32))
