"""Whether all partitions have an owner that has reported lately."""

from __future__ import annotations

from freshrank.actors.protocols import Status
from freshrank.serve.monitoring.system_readiness import missing_parts


def test_each_partition_of_the_candidates_entities_is_owned() -> None:
    statuses: dict[str, Status] = {
        "learner": {},
        "shard-0": {"partitions": {"0": {}, "1": {}, "2": {}}},
        "entity-item-0": {"partitions": {"0": {}}},
    }
    assert missing_parts(statuses, 3) == {}
    assert missing_parts(statuses, 3, {"item": 1}) == {}
    assert missing_parts(statuses, 3, {"item": 3}) == {
        "shards of item": "no shard has reported on partition(s) 1, 2 of item lately"
    }
    of_items = {**statuses, "shard-0": {"partitions": {}}}
    assert set(missing_parts(of_items, 1, {"item": 1})) == {"shards"}, "items are no users"
