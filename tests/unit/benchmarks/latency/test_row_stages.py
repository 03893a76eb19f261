"""The stages of a probe, by the stamps of its event, of its copy, and of the prober."""

from __future__ import annotations

import numpy as np

from freshrank.actors.records import RecordBatch
from freshrank.benchmarks.latency.rows.row_stages import Sighting, stages, stamps_of_copies
from freshrank.feature_actors.connectors.in_memory.log import consecutive_records
from freshrank.feature_actors.streams.copies.origin import (
    NONE_BEFORE,
    generation_of,
    origins_of,
    packed,
)


def test_the_stages_of_a_probe_sum_up_to_its_latency() -> None:
    sightings = [Sighting((3, 7), began_ms=100, missed_ms=165, found_ms=170)]
    found = stages(sightings, [{(3, 7): 104}, {(3, 7): 131}])
    assert found == {"log": [4.0], "copy": [27.0], "row": [34.0], "look": [5.0]}
    assert stages(sightings, [{(3, 7): 104}]) == {"log": [4.0], "row": [61.0], "look": [5.0]}


def test_a_read_that_began_before_the_record_was_there_counts_from_then_on() -> None:
    found = stages([Sighting((0, 0), 100, 100, 120)], [{(0, 0): 110}])
    assert found == {"log": [10.0], "row": [0.0], "look": [10.0]}


def test_the_first_copy_of_a_record_has_its_stamp() -> None:
    source = RecordBatch(
        "plays", 5, [b"a", b"b"], np.array([7, 9]), np.array([1, 2]), np.array([True, True])
    )
    origins = origins_of(source, np.arange(2), np.array([NONE_BEFORE, 7]), generation_of(""))
    pack = packed(origins, source.values)
    copies = consecutive_records("plays.by_item", 0, [pack, pack], np.array([50, 60]))
    assert stamps_of_copies([copies]) == {(5, 7): 50, (5, 9): 50}
