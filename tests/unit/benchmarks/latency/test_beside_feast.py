"""The model beside Feast is given the inputs that a replica makes of the same features."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from freshrank.benchmarks.latency.beside_feast.feast_features import FeastFeatures, save_features
from freshrank.benchmarks.latency.serving_host import served_file
from freshrank.benchmarks.workloads.shop_events import user_name
from freshrank.benchmarks.workloads.shop_fixture import touched_items, user_history
from freshrank.feature_actors.connectors.in_memory.log import consecutive_records
from freshrank.feature_actors.state.entity_table import EntityTable
from freshrank.feature_actors.streams.codec import Codec

AT_MS = 1_700_000_000_000
PIPELINE = served_file().load()
EVENTS = user_history(20, AT_MS, np.random.default_rng(0))


class FakeFeast:
    """Answers as Feast's server does, from the files that were written for it."""

    def __init__(self, folder: Path) -> None:
        self._views: dict[str, Any] = {
            path.stem: msgspec.json.decode(path.read_bytes()) for path in folder.glob("*.json")
        }

    def answer(self, body: bytes) -> bytes:
        asked = msgspec.json.decode(body)
        ((entity, keys),) = asked["entities"].items()
        view = self._views[entity]
        places = [view["keys"].index(key) for key in keys]
        names = [name.removeprefix(f"of_{entity}:") for name in asked["features"]]
        known = {**view["numbers"], **view["lists"]}
        # Feast's order is its own: the key first, then the features.
        columns = {entity: keys}
        columns |= {name: [known[name][place] for place in places] for name in reversed(names)}
        results = [
            {"values": values, "statuses": ["PRESENT"] * len(values)} for values in columns.values()
        ]
        answer = {"metadata": {"feature_names": list(columns)}, "results": results}
        return msgspec.json.encode(answer)


def rows_of(pipeline_events: Sequence[bytes]) -> Mapping[bytes, bytes]:
    """The online store's rows of the events, by their keys."""
    topic = PIPELINE.stream.topic
    columns, _ = Codec(PIPELINE.stream).decode(
        consecutive_records(topic, 0, pipeline_events, AT_MS)
    )
    found = {}
    for plan in [table for entity in PIPELINE.plans.values() for table in entity.tables]:
        table = EntityTable(plan, len(pipeline_events))
        slots = np.unique(table.apply(columns, before=False).slots)
        for name, row in zip(table.entities(slots), table.rows(slots), strict=True):
            found[plan.row_key(name)] = row.tobytes()
    return found


@pytest.mark.parametrize("user", [user_name(0), user_name(7)])
def test_inputs_are_those_of_a_replica_bit_for_bit(user: str, tmp_path: Path) -> None:
    items = touched_items(EVENTS)[:30].tolist()
    candidates = {"item_id": items, "category_id": [item % 7 + 1 for item in items]}
    save_features(PIPELINE, EVENTS, AT_MS, tmp_path)
    features, feast = FeastFeatures(PIPELINE), FakeFeast(tmp_path)
    of_user, of_items = features.asked(user, candidates)
    asked = [msgspec.json.decode(one)["entities"] for one in (of_user, of_items)]
    assert asked == [{"user": [user]}, {"item": [str(item) for item in items]}]
    found = features.inputs(user, candidates, [feast.answer(of_user), feast.answer(of_items)])
    online, rows = PIPELINE.online_features, rows_of(EVENTS)
    lookups = online.lookups(user, candidates)
    stored = [rows[key] for lookup in lookups for key in lookup.keys]
    wanted = online.inputs(lookups, stored, user, candidates, AT_MS)
    assert found.dense.tobytes() == wanted.dense.tobytes()
    assert found.ids.tobytes() == wanted.ids.tobytes()
    assert found.dense.any()
    assert len(found) == len(items)


def test_what_is_no_number_is_no_value_to_feast(tmp_path: Path) -> None:
    save_features(PIPELINE, EVENTS, AT_MS, tmp_path)
    view = msgspec.json.decode((tmp_path / "item.json").read_bytes())
    numbers = [one for column in view["numbers"].values() for one in column]
    assert all(one is None or math.isfinite(one) for one in numbers)
    assert view["lists"] == {}
