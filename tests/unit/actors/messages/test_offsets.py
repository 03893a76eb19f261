import json
import pickle

import pytest
from source_offsets import upto

from freshrank.actors.messages import SourceOffsets, dominates


def test_offsets_dominate_others_only_if_they_do_so_in_every_topic() -> None:
    assert dominates(upto(4, 7), upto(4, 7))
    assert dominates(upto(5, 7), upto(4, 7))
    assert not dominates(upto(5, 6), upto(4, 7))


def test_a_topic_that_is_missing_has_not_been_begun() -> None:
    assert dominates(SourceOffsets({"events": 4, "shown": 7}), SourceOffsets({"events": 4}))
    assert not dominates(SourceOffsets({"events": 4}), SourceOffsets({"events": 4, "shown": 1}))
    assert SourceOffsets({"events": 4, "shown": 0}) == SourceOffsets({"events": 4})
    assert not SourceOffsets({"events": 0})
    assert SourceOffsets()["events"] == 0


def test_offsets_survive_a_process_and_json_and_can_be_keys() -> None:
    offsets = SourceOffsets({"shown": 7, "events": 4})
    copy = pickle.loads(pickle.dumps(offsets))
    assert copy == offsets and {copy, offsets} == {SourceOffsets({"events": 4, "shown": 7})}
    assert SourceOffsets.from_json(json.loads(json.dumps(dict(offsets))), ()) == offsets
    assert (str(offsets), str(SourceOffsets())) == ("events 4, shown 7", "the beginning")


def test_offsets_of_older_files_are_named_by_their_place() -> None:
    assert SourceOffsets.from_json([4, 7], ("events", "shown")) == upto(4, 7)
    with pytest.raises(ValueError):
        SourceOffsets.from_json([4, 7], ("events",))
