"""What a replica does with an entity's stored row: read it as of now, and encode candidates."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from freshrank.actors.errors import RequestError, Unavailable
from freshrank.actors.kernels.hashing import hash_ints, hash_texts
from freshrank.actors.messages import Doubles, Inputs, Ints
from freshrank.actors.protocols import JsonValue
from freshrank.feature_actors.aggregations.kernel_types import NEWEST, OFFSET, FeatureBlock
from freshrank.feature_actors.encoding.input_encoder import InputEncoder
from freshrank.feature_actors.streams.columns import entity_ids
from freshrank.feature_actors.streams.fields import Kind
from freshrank.feature_actors.streams.stream import Stream
from freshrank.feature_actors.views.plan import FeaturePlan
from freshrank.feature_actors.views.table_plan import TablePlan

_FINGERPRINT_DIGITS = 8  # of 16: enough to keep the rows of two definitions apart


def row_key(pipeline: str, table: TablePlan, entity: str) -> bytes:
    """Under which key the online store holds an entity's row: writers and replicas agree on it."""
    digits = table.fingerprint[:_FINGERPRINT_DIGITS]
    return f"fr:{pipeline}:{table.entity.name}:{digits}:{entity}".encode()


class OnlineFeatures:
    """The features of a pipeline as a replica sees them (`ServedFeatures`).

    `join_on` names the context field by which the joiner recognises a candidate; without a
    joiner there is none, and the join keys are 0.
    """

    def __init__(
        self,
        plan: FeaturePlan,
        encoder: InputEncoder,
        stream: Stream,
        pipeline_name: str,
        join_on: str | None = None,
    ) -> None:
        self._plan = plan
        (self._table,) = plan.tables
        self._encoder = encoder
        self._pipeline = pipeline_name
        self._join_on = join_on
        self._entity = stream.fields[plan.entity.key]
        self._kinds = {
            name: stream.fields[name].kind
            for name in encoder.context_names
            if name != plan.entity.key
        }

    @property
    def context(self) -> Mapping[str, type]:
        """The fields that a candidate carries, with their types (str, int or float)."""
        return {name: kind.value for name, kind in self._kinds.items()}

    def key(self, entity: str) -> bytes:
        """Under which key the online store holds the entity's row."""
        return row_key(self._pipeline, self._table, entity)

    def freshness(self, row: bytes | None) -> tuple[int, int]:
        """(newest event time in ms, offset of the last event applied); (0, -1) without a row."""
        words = self._words(row).view(np.int64)
        return int(words[0, NEWEST]), int(words[0, OFFSET])

    def describe(self, row: bytes | None, at_ms: int) -> Mapping[str, JsonValue]:
        """The named features as of `at_ms`; a bag is a list of ids (text as its hash) and weights.

        None stands for a number that has no value.
        """
        block = self._read(row, at_ms)
        found: dict[str, JsonValue] = {}
        for column, name in enumerate(self._plan.columns):
            value = float(block.values[0, column])
            found[name] = None if np.isnan(value) else value
        begin = 0
        for field in self._plan.id_fields:
            end = begin + field.width
            found[field.name] = [
                {"id": int(one), "weight": float(weight)}
                for one, weight in zip(
                    block.ids[0, begin:end], block.id_weights[0, begin:end], strict=True
                )
                if one != 0
            ]
            begin = end
        return found

    def inputs(
        self,
        row: bytes | None,
        entity: str,
        candidates: Mapping[str, Sequence[str] | Sequence[float]],
        at_ms: int,
    ) -> Inputs:
        """One input row a candidate.

        Raises RequestError when a context field is missing or has values of another type.
        """
        context: dict[str, Ints | Doubles] = {
            name: _column(name, kind, candidates) for name, kind in self._kinds.items()
        }
        count = len(next(iter(candidates.values()), ()))
        context[self._plan.entity.key] = np.repeat(self._entity_id(entity), count)
        which = np.zeros(count, dtype=np.int64)
        return self._encoder.encode(self._read(row, at_ms), which, context)

    def join_keys(self, candidates: Mapping[str, Sequence[str] | Sequence[float]]) -> Ints:
        """int64[n]: what the joiner recognises each candidate by."""
        if self._join_on is None:
            return np.zeros(len(next(iter(candidates.values()), ())), dtype=np.int64)
        keys = _column(self._join_on, self._kinds[self._join_on], candidates)
        return keys.astype(np.int64)

    def _words(self, row: bytes | None) -> Doubles:
        """float64[1, words]."""
        if row is None:
            return self._table.empty_row.reshape(1, -1)
        if len(row) != self._plan.bytes_per_entity:
            wanted = self._plan.bytes_per_entity
            raise Unavailable("online store", f"a row of {len(row)} bytes in place of {wanted}")
        # A copy, for a kernel is compiled anew for read-only arrays.
        return np.frombuffer(row, dtype=np.float64).reshape(1, -1).copy()

    def _read(self, row: bytes | None, at_ms: int) -> FeatureBlock:
        return self._plan.read([self._words(row)], np.array([at_ms], dtype=np.int64))

    def _entity_id(self, entity: str) -> Ints:
        """int64[1]."""
        try:
            return entity_ids(self._entity, [entity])
        except (ValueError, OverflowError) as error:
            name = self._plan.entity.name
            raise RequestError(name, f"{entity!r} is not a 64-bit integer") from error


def _column(
    name: str, kind: Kind, candidates: Mapping[str, Sequence[str] | Sequence[float]]
) -> Ints | Doubles:
    place = f"candidates.{name}"
    if name not in candidates:
        raise RequestError(place, "every candidate needs it")
    values = candidates[name]
    try:
        if kind is Kind.TEXT:
            return hash_texts([str(value) for value in values])
        if kind is Kind.INTEGER:
            return hash_ints(np.array(values, dtype=np.int64))
        return np.array(values, dtype=np.float64)
    except (ValueError, TypeError, OverflowError) as error:
        raise RequestError(place, f"not all values are {kind.value.__name__}") from error
