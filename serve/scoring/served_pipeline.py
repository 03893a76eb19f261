"""What a replica has to know of its pipeline."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import msgspec
import numpy as np

from freshrank.actors.errors import BadRecord, RequestError
from freshrank.actors.features.retrieval import Retriever
from freshrank.actors.features.service import FeatureService
from freshrank.actors.kernels.partitioner import Partitioner
from freshrank.actors.messages import Floats
from freshrank.actors.protocols import JsonValue
from freshrank.serve.api.event_records import EventCodec
from freshrank.serve.api.requests import RequestLimits
from freshrank.serve.api.responses import CatalogueInfo, LimitsInfo, PipelineAnswer
from freshrank.serve.experiments.definitions import Experiment


class OriginalRecord(NamedTuple):
    """A record of a stream's topic that was copied to another one, where shards read it."""

    partition: int
    offset: int
    timestamp_ms: int
    value: bytes | None
    """None: a tombstone."""


@dataclass(frozen=True, slots=True)
class EventStream:
    """A topic of events, as far as a replica writes to it and reads back from it."""

    topic: str
    codec: EventCodec
    schema: Mapping[str, JsonValue]
    """The JSON schema of one event."""
    partitioner: Partitioner = Partitioner.MURMUR2
    """How the partitions of the records of `log_topic` are chosen."""
    log_topic: str = ""
    """The topic to read back from; empty: `topic`."""
    originals: Callable[[bytes], Sequence[OriginalRecord]] | None = None
    """Of the value of a record in `log_topic`, the records of `topic` that it has copies of; raises
    BadRecord. None: they are the same."""


@dataclass(frozen=True, slots=True)
class ServedPipeline:
    """The definitions of a pipeline, as far as a replica needs them."""

    name: str
    entity: str
    """The entity's name: a field of requests, and a segment of paths."""
    features: FeatureService
    streams: Sequence[EventStream]
    """The pipeline's streams, in its order."""
    impressions_topic: str | None
    """None where labels do not come from what was served: then nothing is logged."""
    layout: str
    """Fingerprint of the model's inputs, which the joiner compares."""
    samples: Mapping[str, JsonValue] = field(default_factory=dict)
    """For the page: ``entities``, ``candidates``, ``event`` (values of fields), ``choices`` (of
    fields), ``automatic`` (which fields are the event's ``id``, ``time`` and ``key``) and
    ``time_unit`` (of the time, "ms" for example; null where it is a text)."""

    classes: Sequence[str] = ()
    """The names of the classes that the model tells apart; none where it gives one score."""
    limits: RequestLimits = field(default_factory=RequestLimits)
    experiments: Sequence[Experiment] = ()

    def stream(self, topic: str) -> EventStream:
        """The stream of `topic`. Raises KeyError."""
        return {stream.topic: stream for stream in self.streams}[topic]

    def check_entity(self, entity: str) -> None:
        """Raise RequestError (404) where `entity` is not the name of this pipeline's entity."""
        if entity != self.entity:
            reason = f"there is no entity {entity!r} here, only {self.entity!r}"
            raise RequestError("entity", reason, status=404)

    def canonical_key(self, entity: str, key: str | int, place: str) -> str:
        """The one text of an entity's key. Raises RequestError that names `place`."""
        try:
            return self.features.canonical_key(entity, key)
        except BadRecord as error:
            raise RequestError(place, error.reason) from error

    def describe(self, show: int, retriever: Retriever | None = None) -> PipelineAnswer:
        """The answer to GET /v1/pipeline, where a request logs the best `show` by default."""
        limits, candidate = self.limits, self.features.request_types.candidate
        fields = zip(candidate.__struct_fields__, candidate.__struct_encode_fields__, strict=True)
        answer = PipelineAnswer(
            pipeline=self.name,
            entity=self.entity,
            candidate={in_json: self.features.context[name].__name__ for name, in_json in fields},
            streams=[stream.topic for stream in self.streams],
            event_schema=dict(self.streams[0].schema),
            event_schemas={stream.topic: dict(stream.schema) for stream in self.streams},
            samples=dict(self.samples),
            show=show,
            bounds=LimitsInfo(
                limits.body_bytes,
                limits.candidates,
                limits.explained,
                limits.events,
                limits.batch,
                limits.batch_candidates,
            ),
            catalogue=None if retriever is None else self._catalogue(retriever),
        )
        if self.classes:
            answer.classes = list(self.classes)
        return answer

    def by_class(self, probabilities: Floats) -> list[dict[str, float] | None]:
        """Probabilities float32[n, c] as answers have them: for each row those of the classes."""
        rows = np.round(probabilities.astype(np.float64), 6).tolist()
        return [dict(zip(self.classes, row, strict=True)) for row in rows]

    def _catalogue(self, retriever: Retriever) -> CatalogueInfo:
        return CatalogueInfo(
            entity=retriever.entity,
            fields={
                **{name: kind.__name__ for name, kind in retriever.fields.items()},
                **{name: f"list[{kind.__name__}]" for name, kind in retriever.lists.items()},
            },
            sources=list(retriever.sources),
            similar=list(retriever.similar),
            seen=list(retriever.seen),
            context=_fields_of(self.features.request_types.candidate, retriever.request_context),
        )


def _fields_of(kind: type[msgspec.Struct], names: Collection[str]) -> dict[str, JsonValue]:
    """JSON schema of an object that has some of the fields of `kind`."""
    schema = msgspec.json.schema(kind)["$defs"][kind.__name__]
    wanted = [one.encode_name for one in msgspec.structs.fields(kind) if one.name in names]
    return {
        "type": "object",
        "properties": {name: schema["properties"][name] for name in wanted},
        "required": [name for name in wanted if name in schema["required"]],
    }
