"""The log of impressions: the input rows of the best candidates, exactly as they were scored.

But for the place in the list, where that is an input: all are scored as at one place.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from freshrank.actors.errors import Unavailable
from freshrank.actors.features.service import Column
from freshrank.actors.impressions import Impression, encode_impression
from freshrank.actors.messages import Doubles, Floats, Inputs, Ints
from freshrank.actors.protocols import RecordSink
from freshrank.serve.api.responses import CandidateRows, FeatureInfo, ModelInfo
from freshrank.serve.experiments.assignment import NOBODY, Assigned
from freshrank.serve.experiments.explored_list import ExploredList, PlainChoices, explored_list
from freshrank.serve.monitoring.metrics import ServeMetrics
from freshrank.serve.scoring.row_copies import FoundRows
from freshrank.serve.scoring.served_pipeline import ServedPipeline


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
    """float32[n]: of a model of classes the probability of the likeliest."""
    once: bool
    """Whether a repeated request has the same `request_id`."""
    probabilities: Floats | None = None
    """float32[n, c]: of each class; None of a model that gives one score."""
    assigned: Assigned = NOBODY
    """The arms of experiments that it is answered by."""
    sampled: Floats | None = None
    """float32[1 + s, n]: `scores`, and those by weights that were drawn for an exploration."""

    @property
    def outage(self) -> bool:
        """Whether a row that the inputs need could not be read."""
        return self.rows.source == "outage"

    @property
    def worth(self) -> Doubles:
        """float64[n]: the scores; float64[1 + s, n] where weights were drawn, `scores` first."""
        found = self.scores if self.sampled is None else self.sampled
        return found.astype(np.float64)

    def ranking(self) -> Ints:
        """int64[n]: the indices of the candidates, the best first."""
        return np.argsort(-self.scores, kind="stable")

    def ranked(self, show: int) -> tuple[Ints, ExploredList | None]:
        """The ranking, the first `show` of which are drawn where the request explores."""
        exploration = self.assigned.exploration
        if exploration is None:
            return self.ranking(), None
        drawn = explored_list(exploration, PlainChoices(self.worth), show, self.request_id)
        return drawn.before(self.ranking()), drawn


def scores_of(predictions: Floats) -> tuple[Floats, Floats | None]:
    """`scores` and `probabilities` of a `ScoredRequest`, from a model's predictions [n] or [n, c].

    >>> scores_of(np.array([[0.25, 0.75], [0.5, 0.5]], np.float32))[0].tolist()
    [0.75, 0.5]
    """
    if predictions.ndim == 1:
        return predictions, None
    return predictions.max(axis=1), predictions


class ImpressionLog:
    """Writes one record for each request, which the pipeline's joiner reads."""

    def __init__(self, pipeline: ServedPipeline, sink: RecordSink, metrics: ServeMetrics) -> None:
        self._features = pipeline.features
        self._sink = sink
        self._topic = pipeline.impressions_topic
        self._layout = pipeline.layout
        self._metrics = metrics

    def show(
        self,
        scored: ScoredRequest,
        shown: Ints,
        explored: ExploredList | None = None,
        *,
        before: int = 0,
    ) -> None:
        """Log candidates as shown, by their indices `shown` int64[m], once the answer is sent.

        They are the first of `explored`, where they were drawn. So many items were shown `before`,
        on earlier pages of the list.
        """
        if len(shown) and self._topic is not None:
            # In the next iteration of the event loop: the answer is sent first.
            asyncio.get_running_loop().call_soon(
                self.add, self._topic, scored, shown, explored, before
            )

    def add(
        self,
        topic: str,
        scored: ScoredRequest,
        shown: Ints,
        explored: ExploredList | None,
        before: int = 0,
    ) -> None:
        """Queue the record of the candidates `shown`, and count it.

        When the sink is full, its example is lost.
        """
        inputs, indices = self._features.shown(scored.inputs, shown, before), shown.tolist()
        columns = {name: [column[i] for i in indices] for name, column in scored.columns.items()}
        impression = Impression(
            request_id=scored.request_id,
            entity=scored.entity,
            at_ms=scored.at_ms,
            version=scored.model.version or "",
            layout=self._layout,
            join_keys=self._features.join_keys(columns).tobytes(),
            dense=inputs.dense.tobytes(),
            ids=inputs.ids.tobytes(),
            outage=scored.outage,
            once=scored.once,
            scores=scored.scores[shown].tobytes(),
            arms=dict(scored.assigned.arms),
            explored=explored and explored.items(scored.scores, len(shown)),
        )
        logged = True
        try:
            self._sink.send_nowait(topic, scored.entity.encode(), encode_impression(impression))
        except Unavailable:
            logged = False
        self._metrics.shown(logged)
        if explored is not None:
            self._metrics.explored(len(explored.places), explored.explored)
