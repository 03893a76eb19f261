"""What the REST endpoint takes and gives: typed, bounded, and named in errors."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from operator import attrgetter
from types import GenericAlias
from typing import Annotated, Any, TypeAlias, cast

import msgspec
import numpy as np

from freshrank.actors.errors import RequestError
from freshrank.actors.messages import Version

Column: TypeAlias = Sequence[str] | Sequence[float]

# An id that people or shops use is far shorter; without a bound one request could fill the cache
# of known rows.
TEXT_BOUND = 256
# Kafka's and NumPy's integers.
_INT64 = (-(2**63), 2**63 - 1)


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds of what one request may ask for."""

    body_bytes: int = 1_000_000
    """Kafka's own default bound of a message, so that no event that fits there is refused."""
    candidates: int = 1_000
    """Ten times what a ranking stage is usually given; scoring them takes about a millisecond."""
    events: int = 1_000
    """In one POST of events."""
    requests: int = 512
    """Answered at the same time; beyond it 503 with Retry-After."""


@dataclass(frozen=True, slots=True)
class ScoreCall:
    """A request to score, checked."""

    entity: str
    count: int
    """``n``: how many candidates."""
    columns: Mapping[str, Column]
    """One of length ``n`` for each context field."""
    show: int | None
    min_version: Version | None
    max_model_age_ms: int | None


class ModelInfo(msgspec.Struct):
    """Which weights answered."""

    version: str | None
    """``epoch.step``; None: no weights yet, the scores are those of an untrained model."""
    age_ms: int | None
    """Since they were published."""


class FeatureInfo(msgspec.Struct):
    """Which features were used."""

    source: str
    """``online``; ``last_known`` or ``default`` while the store does not answer; ``default`` too
    for an entity that nothing is known of."""
    event_time_ms: int | None
    """Of the newest event in them."""
    age_ms: int | None
    """Since that event."""
    offset: int | None
    """In its partition, of the last event in them."""


class ScoreAnswer(msgspec.Struct):
    """The answer to POST /v1/score."""

    request_id: str
    model: ModelInfo
    features: FeatureInfo
    scores: list[float]
    """Probabilities in the order of the candidates."""
    ranking: list[int]
    """Indices of the candidates, best first."""


class Position(msgspec.Struct):
    """Where an event lies in the topic."""

    partition: int
    offset: int


class EventsAnswer(msgspec.Struct):
    """The answer to POST /v1/events."""

    accepted: int
    positions: list[Position]


class Problem(msgspec.Struct):
    """What was wrong: the place in the request, and what to mend."""

    field: str
    reason: str


class ErrorAnswer(msgspec.Struct):
    """Every answer that is not 2xx."""

    error: Problem


class ScoreDecoder:
    """Bytes of a request to a `ScoreCall`.

    The request's type is made from the pipeline: its entity's name, and the context fields with
    their types. Unknown fields are refused by name: a misspelt one would be silence otherwise.
    """

    def __init__(self, entity: str, context: Mapping[str, type], limits: Limits) -> None:
        self._entity = entity
        self._names = list(context)
        self.candidate_type = msgspec.defstruct(
            "Candidate",
            [(name, _bounded(kind)) for name, kind in context.items()],
            forbid_unknown_fields=True,
            gc=False,
        )
        self._limits = limits
        self.request_type = msgspec.defstruct(
            "ScoreRequest",
            [
                (entity, _bounded(str)),
                ("candidates", GenericAlias(list, (self.candidate_type,))),
                ("show", Annotated[int, msgspec.Meta(ge=0)] | None, None),
                ("min_version", str | None, None),
                ("max_model_age_ms", Annotated[int, msgspec.Meta(ge=0)] | None, None),
            ],
            forbid_unknown_fields=True,
        )
        self._decode = msgspec.json.Decoder(self.request_type).decode
        self._entity_of = attrgetter(entity)

    def decode(self, body: bytes) -> ScoreCall:
        """Read a body; raises RequestError naming the field."""
        request = cast(Any, _decoded(self._decode, body))
        candidates = request.candidates
        if not 1 <= len(candidates) <= self._limits.candidates:
            reason = f"from 1 to {self._limits.candidates} of them, not {len(candidates)}"
            raise RequestError("candidates", reason)
        columns = {name: list(map(attrgetter(name), candidates)) for name in self._names}
        return ScoreCall(
            self._entity_of(request),
            len(candidates),
            columns,
            request.show,
            _version(request.min_version),
            request.max_model_age_ms,
        )


def split_events(body: bytes, limits: Limits) -> list[bytes]:
    """The raw JSON of each event in a body that holds one, or a list of them."""
    one_or_many = _decoded(msgspec.json.Decoder(_Events).decode, body)
    if not isinstance(one_or_many, list):
        return [body]
    if not 1 <= len(one_or_many) <= limits.events:
        raise RequestError("events", f"from 1 to {limits.events} at once, not {len(one_or_many)}")
    return [bytes(raw) for raw in one_or_many]


_Events: TypeAlias = list[msgspec.Raw] | dict[str, msgspec.Raw]

# How msgspec tells where: "Expected `int`, got `str` - at `$.candidates[0].item_id`".
_WHERE = re.compile(r"^(?P<what>.*?)(?: - at `(?:key in )?\$\.?(?P<where>[^`]*)`)?$", re.DOTALL)


def _decoded(decode: Callable[[bytes], object], body: bytes) -> object:
    try:
        return decode(body)
    except msgspec.ValidationError as error:
        found = _WHERE.match(str(error))
        what, where = (found["what"], found["where"]) if found else (str(error), None)
        raise RequestError(where or "body", what) from error
    except msgspec.DecodeError as error:
        raise RequestError("body", f"not JSON: {error}", status=400) from error
    except UnicodeDecodeError as error:
        raise RequestError("body", f"not UTF-8: {error.reason}", status=400) from error
    except RecursionError as error:
        raise RequestError("body", "nested too deeply", status=400) from error


def _bounded(kind: type) -> Any:
    if kind is str:
        return Annotated[str, msgspec.Meta(min_length=1, max_length=TEXT_BOUND)]
    if kind is int:
        return Annotated[int, msgspec.Meta(ge=_INT64[0], le=_INT64[1])]
    return kind


def _version(text: str | None) -> Version | None:
    if text is None:
        return None
    try:
        return Version.parse(text)
    except ValueError as error:
        raise RequestError("min_version", f"{text!r} is not of the form 1.204") from error


def rounded(scores: np.ndarray[Any, np.dtype[np.float32]]) -> list[float]:
    """Probabilities with six decimals: float32 holds no more, and the answer is half as long."""
    return cast(list[float], np.round(scores.astype(np.float64), 6).tolist())
