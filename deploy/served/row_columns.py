"""The columns of a training set: who was shown what and when, its label, and the model's inputs."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from freshrank.actors.errors import BadRecord
from freshrank.actors.impressions import Impression, served_draws
from freshrank.actors.kernels.hashing import ABSENT, hash_texts
from freshrank.actors.messages import Bools, Floats, IdField, Ints
from freshrank.deploy.history.entity_rows import TIME, columns_of_ids, key_columns
from freshrank.deploy.pipelines.pipeline import Pipeline
from freshrank.feature_actors.labels.down_sampling import kept
from freshrank.feature_actors.labels.examples import RANK_BITS

if TYPE_CHECKING:
    import pyarrow as pa

OWNER = "_owner"
"""The hash of the entity, which is not written."""


@dataclass(slots=True)
class ShownList:
    """An impression that can be used."""

    offset: int
    impression: Impression
    shown_ms: int
    """By the log, where the replica's clock was ahead of it."""
    positive_ms: dict[int, int] = field(default_factory=dict)
    """By the place of an item in the list: when it became positive."""
    final: bool = False
    """Whether no item can become positive any more."""


class RowColumns:
    """Makes tables of lists that were shown, one row for each item.

    `arrow` is the module.
    """

    def __init__(self, arrow: Any, pipeline: Pipeline) -> None:
        label = pipeline.joined
        assert label is not None
        self._arrow, self._layout = arrow, pipeline.encoder.layout
        self._wait_ms = label.within_ms + label.grace_ms
        self._kept, self._listwise = label.negatives_kept, label.listwise
        self._experiments = [one.name for one in pipeline.experiments]
        self._key = key_columns(pipeline)[pipeline.stream.key.name]
        self.schema: pa.Schema = self.batch([]).schema
        """Of all tables, `OWNER` included."""

    def batch(self, shown: Sequence[ShownList]) -> pa.RecordBatch:
        """The rows of lists, in their order; an input whose name another column has is `input.`."""
        arrow = self._arrow
        columns = dict[str, Any]()
        for name, column in self._columns(shown):
            title = name if name not in columns else f"input.{name}"
            columns[title] = column
        made: pa.RecordBatch = arrow.RecordBatch.from_pydict(columns)
        return made

    def _columns(self, shown: Sequence[ShownList]) -> Iterator[tuple[str, Any]]:
        """Names and columns; those of the inputs come last."""
        arrow, lists = self._arrow, [one.impression for one in shown]
        counts = [len(one.scores) // 4 for one in lists]
        ranks = np.concatenate([np.arange(n) for n in counts] or [np.zeros(0, np.int64)])
        at = np.repeat(np.arange(len(lists)), counts)
        places = arrow.array(at)

        def texts(values: Iterable[str | None]) -> Any:
            return arrow.array(values, type=arrow.string()).take(places)

        yield OWNER, arrow.array(hash_texts([one.entity for one in lists])[at])
        yield "request_id", texts([one.request_id for one in lists])
        names = columns_of_ids(self._key, [one.entity for one in lists])
        yield from ((name, texts(column)) for name, column in names.items())
        yield "item_key", _numbers(arrow, (one.join_keys for one in lists), "<i8")
        shown_ms = np.array([one.shown_ms for one in shown], np.int64)[at]
        yield TIME, _times(arrow, shown_ms)
        yield "position", arrow.array(ranks.astype(np.int32))
        yield "score", _numbers(arrow, (one.scores for one in lists), "<f4")
        yield "version", texts([one.version for one in lists])
        yield from self._label_columns(shown, at, ranks, shown_ms)
        yield "propensity", arrow.array(_propensities(shown, counts), from_pandas=True)
        for name in self._experiments:
            yield f"arm.{name}", texts([one.arms.get(name) for one in lists])
        yield from self._inputs(shown)

    def _label_columns(
        self, shown: Sequence[ShownList], at: Ints, ranks: Ints, shown_ms: Ints
    ) -> Iterator[tuple[str, Any]]:
        """The label, when it was known, and how many times the learner counts it."""
        arrow = self._arrow
        first = np.searchsorted(at, np.arange(len(shown)))
        positive, known_ms = np.zeros(len(at), np.bool_), shown_ms + self._wait_ms
        for begin, one in zip(first.tolist(), shown, strict=True):
            for rank, at_ms in one.positive_ms.items():
                positive[begin + rank], known_ms[begin + rank] = True, at_ms
        final = np.array([one.final for one in shown], np.bool_)[at]
        is_open = ~positive & ~final
        yield "label", arrow.array(positive.astype(np.int8), mask=is_open)
        yield "label_time", _times(arrow, known_ms, is_open)
        if self._listwise:
            counts = np.diff(first, append=len(at)).tolist()
            parts = [_slates_of(one, count) for one, count in zip(shown, counts, strict=True)]
            yield "weight", arrow.array(np.concatenate([np.zeros(0, np.float32), *parts]))
            return
        offsets = np.array([one.offset for one in shown], np.int64)[at]
        learned = positive | kept((offsets << RANK_BITS) + ranks, self._kept)
        yield "weight", arrow.array(learned.astype(np.float32))

    def _inputs(self, shown: Sequence[ShownList]) -> Iterator[tuple[str, Any]]:
        arrow, layout = self._arrow, self._layout
        rows = b"".join(one.impression.dense for one in shown)
        dense = np.frombuffer(rows, "<f4").reshape(-1, max(len(layout.dense), 1))
        for place, name in enumerate(layout.dense):
            yield name, arrow.array(np.ascontiguousarray(dense[:, place]), from_pandas=True)
        rows = b"".join(one.impression.ids for one in shown)
        ids, begin = np.frombuffer(rows, "<i8").reshape(-1, max(layout.id_width, 1)), 0
        for one in layout.fields:
            yield one.name, _ids(arrow, one, ids[:, begin : begin + one.width])
            begin += one.width


def _slates_of(shown: ShownList, count: int) -> Floats:
    """float32[count]: in how many slates each item of a list is (`Listwise`)."""
    found, left = np.zeros(count, np.float32), np.ones(count, np.bool_)
    for rank in sorted(shown.positive_ms, key=lambda rank: (shown.positive_ms[rank], -rank)):
        if np.count_nonzero(left) > 1:
            found[left] += 1.0
        left[rank] = False
    return found


def _propensities(shown: Sequence[ShownList], counts: Sequence[int]) -> Floats:
    """float32[n]: NaN of items whose list does not explore, or says so wrongly."""
    found = [np.full(count, np.nan, np.float32) for count in counts]
    for place, one in enumerate(shown):
        with contextlib.suppress(BadRecord):
            draws = served_draws(one.impression)
            if draws is not None:
                found[place] = draws.propensities
    return np.concatenate([np.zeros(0, np.float32), *found])


def _numbers(arrow: Any, parts: Iterable[bytes], kind: str) -> Any:
    return arrow.array(np.frombuffer(b"".join(parts), kind))


def _times(arrow: Any, times_ms: Ints, missing: Bools | None = None) -> Any:
    made = arrow.array(times_ms, type=arrow.int64(), mask=missing)
    return made.cast(arrow.timestamp("ms", tz="UTC"))


def _ids(arrow: Any, field: IdField, ids: Ints) -> Any:
    """The ids of a field; of a bag, a list of those that there are."""
    if field.width == 1:
        return arrow.array(ids[:, 0], mask=ids[:, 0] == ABSENT)
    present = ids != ABSENT
    ends = np.concatenate([[0], np.cumsum(present.sum(axis=1))]).astype(np.int32)
    return arrow.ListArray.from_arrays(arrow.array(ends), arrow.array(ids[present]))
