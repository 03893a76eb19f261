"""The log of what was shown: the rows of the best candidates, exactly as they were scored."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from freshrank.actors.errors import Unavailable
from freshrank.actors.impressions import Impression, encode_impression
from freshrank.actors.messages import Inputs, Ints
from freshrank.actors.protocols import RecordSink, ServedFeatures
from freshrank.serve.api.requests import Column
from freshrank.serve.api.responses import ScoreAnswer


@dataclass(frozen=True, slots=True)
class Scored:
    """One answered request, and what it was answered from."""

    entity: str
    answer: ScoreAnswer
    columns: Mapping[str, Column]
    """The ``n`` candidates, one column a context field."""
    inputs: Inputs
    shown: Ints
    """int64[m]: the candidates that count as shown."""
    at_ms: int


class ShownLog:
    """Queues one record a request for the joiner of the pipeline."""

    def __init__(self, served: ServedFeatures, sink: RecordSink, topic: str, layout: str) -> None:
        self._served = served
        self._sink = sink
        self._topic = topic
        self._layout = layout

    def add(self, scored: Scored) -> bool:
        """Queue it; False when the sink is full: the score was worth more than its example."""
        inputs, shown = scored.inputs, scored.shown
        places = shown.tolist()
        columns = {name: [one[i] for i in places] for name, one in scored.columns.items()}
        impression = Impression(
            request_id=scored.answer.request_id,
            entity=scored.entity,
            at_ms=scored.at_ms,
            version=scored.answer.model.version or "",
            layout=self._layout,
            join_keys=self._served.join_keys(columns).tobytes(),
            dense=inputs.dense[shown].tobytes(),
            ids=inputs.ids[shown].tobytes(),
        )
        try:
            record = encode_impression(impression)
            self._sink.send_nowait(self._topic, scored.entity.encode(), record)
        except Unavailable:
            return False
        return True
