"""The log of impressions: the input rows of the best candidates, exactly as they were scored."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from freshrank.actors.errors import Unavailable
from freshrank.actors.features.service import Column, FeatureService
from freshrank.actors.impressions import Impression, encode_impression
from freshrank.actors.messages import Inputs, Ints
from freshrank.actors.protocols import RecordSink
from freshrank.serve.api.responses import ScoreAnswer


@dataclass(frozen=True, slots=True)
class ScoredRequest:
    """An answered request, and the inputs of its answer."""

    entity: str
    answer: ScoreAnswer
    columns: Mapping[str, Column]
    """By context field: a column of length ``n``, one value for each candidate."""
    inputs: Inputs
    shown: Ints
    """int64[m]: the indices of the candidates that are logged as shown."""
    at_ms: int
    outage: bool
    """Whether a row that the inputs need could not be read."""


class ImpressionLog:
    """Writes one record for each request, which the pipeline's joiner reads."""

    def __init__(self, features: FeatureService, sink: RecordSink, topic: str, layout: str) -> None:
        self._features = features
        self._sink = sink
        self._topic = topic
        self._layout = layout

    def add(self, scored: ScoredRequest) -> bool:
        """Queue the record; False when the sink is full: its example is lost then."""
        inputs, shown = scored.inputs, scored.shown
        indices = shown.tolist()
        columns = {name: [column[i] for i in indices] for name, column in scored.columns.items()}
        impression = Impression(
            request_id=scored.answer.request_id,
            entity=scored.entity,
            at_ms=scored.at_ms,
            version=scored.answer.model.version or "",
            layout=self._layout,
            join_keys=self._features.join_keys(columns).tobytes(),
            dense=inputs.dense[shown].tobytes(),
            ids=inputs.ids[shown].tobytes(),
            outage=scored.outage,
        )
        try:
            record = encode_impression(impression)
            self._sink.send_nowait(self._topic, scored.entity.encode(), record)
        except Unavailable:
            return False
        return True
