"""The log of impressions: the input rows of the best candidates, exactly as they were scored."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from freshrank.actors.errors import Unavailable
from freshrank.actors.features.service import Column, FeatureService
from freshrank.actors.impressions import Impression, encode_impression
from freshrank.actors.messages import Floats, Inputs, Ints
from freshrank.actors.protocols import RecordSink
from freshrank.serve.api.responses import CandidateRows, FeatureInfo, ModelInfo
from freshrank.serve.scoring.feature_reader import source_of
from freshrank.serve.scoring.row_copies import FoundRows


@dataclass(frozen=True, slots=True)
class ScoredRequest:
    """The scores of ``n`` candidates, and all that belongs to the moment of their making."""

    request_id: str
    entity: str
    """Its canonical key."""
    at_ms: int
    model: ModelInfo
    features: FeatureInfo
    rows: FoundRows
    candidate_rows: Mapping[str, CandidateRows]
    """By table; empty where the candidates of the pipeline have none."""
    columns: Mapping[str, Column]
    """By context field: a column of length ``n``, one value for each candidate."""
    inputs: Inputs
    scores: Floats
    """float32[n]."""
    once: bool
    """Whether a repeated request has the same `request_id`."""

    @property
    def outage(self) -> bool:
        """Whether a row that the inputs need could not be read."""
        return source_of(self.rows.rows) == "outage"

    def ranking(self) -> Ints:
        """int64[n]: the indices of the candidates, the best first."""
        return np.argsort(-self.scores, kind="stable")


class ImpressionLog:
    """Writes one record for each request, which the pipeline's joiner reads."""

    def __init__(self, features: FeatureService, sink: RecordSink, topic: str, layout: str) -> None:
        self._features = features
        self._sink = sink
        self._topic = topic
        self._layout = layout

    def add(self, scored: ScoredRequest, shown: Ints) -> bool:
        """Queue the record of the candidates `shown` int64[m], by their indices.

        False when the sink is full: its example is lost then.
        """
        inputs, indices = scored.inputs, shown.tolist()
        columns = {name: [column[i] for i in indices] for name, column in scored.columns.items()}
        impression = Impression(
            request_id=scored.request_id,
            entity=scored.entity,
            at_ms=scored.at_ms,
            version=scored.model.version or "",
            layout=self._layout,
            join_keys=self._features.join_keys(columns).tobytes(),
            dense=inputs.dense[shown].tobytes(),
            ids=inputs.ids[shown].tobytes(),
            outage=scored.outage,
            once=scored.once,
            scores=scored.scores[shown].tobytes(),
        )
        try:
            record = encode_impression(impression)
            self._sink.send_nowait(self._topic, scored.entity.encode(), record)
        except Unavailable:
            return False
        return True
