"""The features of a pipeline as Feast holds them, and the inputs of its model from Feast's answers.

Feast has what a replica makes of the rows of its store: the numbers of each user and item as of one
moment, and their ids and weights as lists.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from freshrank.actors.features.service import Candidates
from freshrank.actors.messages import Doubles, Inputs, Ints
from freshrank.deploy.pipelines.pipeline import Pipeline
from freshrank.feature_actors.aggregations.kernel_types import FeatureBlock
from freshrank.feature_actors.connectors.in_memory.log import consecutive_records
from freshrank.feature_actors.encoding.candidate_columns import column_of
from freshrank.feature_actors.state.entity_table import EntityTable
from freshrank.feature_actors.streams.codec import Codec
from freshrank.feature_actors.streams.columns import entity_ids
from freshrank.feature_actors.views.table_plan import TablePlan

_IDS, _WEIGHTS = "ids", "weights"


class _Column(msgspec.Struct):
    values: list[Any]


class _Metadata(msgspec.Struct):
    feature_names: list[str]


class _Answer(msgspec.Struct):
    """What is used of an answer of Feast's server; `results` has a column for each name."""

    metadata: _Metadata
    results: list[_Column]


def save_features(pipeline: Pipeline, events: Sequence[bytes], at_ms: int, folder: Path) -> None:
    """Write what `events` lead to, as of `at_ms`, to a file of `folder` for each entity.

    Of entities that have events; `feature_server.py` says what the files hold.
    """
    columns, rejected = Codec(pipeline.stream).decode(
        consecutive_records(pipeline.stream.topic, 0, events, at_ms)
    )
    assert not rejected  # the bench has made these events itself
    for entity, plan in pipeline.plans.items():
        table = _only(plan.tables)
        rows = EntityTable(table, len(events))
        slots = np.unique(rows.apply(columns, before=False).slots)
        block = table.read(rows.rows(slots), np.full(len(slots), at_ms, dtype=np.int64))
        features = {
            "keys": rows.entities(slots),
            "numbers": dict(zip(table.columns, block.values.T.tolist(), strict=True)),
            "lists": {},
        }
        if table.id_width:
            lists = {_IDS: block.ids.tolist(), _WEIGHTS: block.id_weights.tolist()}
            features["lists"] = lists
        # What is not a number becomes null.
        (folder / f"{entity}.json").write_bytes(msgspec.json.encode(features))


class FeastFeatures:
    """Asks for the features of requests, and makes inputs of them, by the pipeline's encoder.

    Two requests are made of one: Feast repeats the features of a user for each item that is asked
    for beside it, and takes three times as long (`freshrank bench reads`).
    """

    def __init__(self, pipeline: Pipeline) -> None:
        self._encoder = pipeline.encoder
        self._stream = pipeline.stream
        (self._user, self._user_table), (self._item, self._item_table) = (
            (plan.entity, _only(plan.tables)) for plan in pipeline.plans.values()
        )

    def asked(self, user: str, candidates: Candidates) -> tuple[bytes, bytes]:
        """The bodies of the requests for the user's features, and for those of the items."""
        items = [str(item) for item in candidates[self._item.key]]
        return (
            _asked(self._user.name, self._user_table, [user]),
            _asked(self._item.name, self._item_table, items),
        )

    def inputs(self, user: str, candidates: Candidates, answers: Sequence[bytes]) -> Inputs:
        """One input row a candidate, as `OnlineFeatures.inputs` makes it of the same features."""
        of_user, of_items = answers
        count = len(candidates[self._item.key])
        context: dict[str, Ints | Doubles] = {
            name: column_of(name, kind, candidates)
            for name, kind in self._encoder.kinds.items()
            if name != self._user.key
        }
        context[self._user.key] = entity_ids(self._stream.fields[self._user.key], [user])
        blocks = [_block(self._user_table, of_user), _block(self._item_table, of_items)]
        which = [np.zeros(count, dtype=np.int64), np.arange(count)]
        return self._encoder.encode(blocks, which, context)


def _only(tables: Sequence[TablePlan]) -> TablePlan:
    (table,) = tables
    return table


def _asked(entity: str, table: TablePlan, keys: Sequence[str]) -> bytes:
    names = [*table.columns, *([_IDS, _WEIGHTS] if table.id_width else [])]
    features = [f"of_{entity}:{name}" for name in names]
    return msgspec.json.encode({"features": features, "entities": {entity: keys}})


def _block(table: TablePlan, answer: bytes) -> FeatureBlock:
    """The features in an answer, a line for each key that was asked for."""
    decoded = msgspec.json.decode(answer, type=_Answer)
    found: Mapping[str, list[Any]] = {
        name: column.values
        for name, column in zip(decoded.metadata.feature_names, decoded.results, strict=True)
    }
    # None becomes NaN.
    values = np.array([found[name] for name in table.columns], dtype=np.float64).T
    if not table.id_width:
        nothing = np.zeros((len(values), 0))
        return FeatureBlock(values, nothing.astype(np.int64), nothing)
    ids = np.array(found[_IDS], dtype=np.int64)
    return FeatureBlock(values, ids, np.array(found[_WEIGHTS], dtype=np.float64))
