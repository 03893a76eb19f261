"""What the REST endpoint takes: typed, bounded, and named in errors."""

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
from freshrank.actors.messages import LONGEST_KEY, Floats, Version

Column: TypeAlias = Sequence[str] | Sequence[float]

# Characters of any text in a request: no event has a longer key, so no row could be found.
TEXT_BOUND = LONGEST_KEY
# Kafka's and NumPy's integers.
_INT64 = (-(2**63), 2**63 - 1)
# How `Version` is written; 18 digits fit into 64 bits.
_VERSION = r"^[0-9]{1,18}\.[0-9]{1,18}$"


@dataclass(frozen=True, slots=True)
class RequestLimits:
    """Bounds of what one request may ask for."""

    body_bytes: int = 1_000_000
    """Kafka's own default bound of a message, so that no event that fits there is refused."""
    header_bytes: int = 16_384
    """Names and values of all headers; what common proxies allow."""
    candidates: int = 1_000
    """Ten times what a ranking stage is usually given; scoring them takes about a millisecond."""
    events: int = 1_000
    """In one POST of events."""


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


class ScoreDecoder:
    """Bytes of a request to a `ScoreCall`.

    The request's type is made from the pipeline: its entity's name, and the context fields with
    their types. Unknown fields are refused by name: a misspelt one would be silence otherwise.
    """

    def __init__(self, entity: str, context: Mapping[str, type], limits: RequestLimits) -> None:
        self.candidate_type = msgspec.defstruct(
            "Candidate",
            [(name, _bounded(kind)) for name, kind in context.items()],
            forbid_unknown_fields=True,
            gc=False,
        )
        listed = GenericAlias(list, (self.candidate_type,))
        self.request_type = msgspec.defstruct(
            "ScoreRequest",
            [
                (entity, _bounded(str)),
                (
                    "candidates",
                    Annotated[listed, msgspec.Meta(min_length=1, max_length=limits.candidates)],
                ),
                ("show", Annotated[int, msgspec.Meta(ge=0, le=limits.candidates)] | None, None),
                ("min_version", Annotated[str, msgspec.Meta(pattern=_VERSION)] | None, None),
                ("max_model_age_ms", Annotated[int, msgspec.Meta(ge=0, le=_INT64[1])] | None, None),
            ],
            forbid_unknown_fields=True,
        )
        self._decode = msgspec.json.Decoder(self.request_type).decode
        self._entity_of = attrgetter(entity)
        self._fields = [(name, attrgetter(name)) for name in context]

    def decode(self, body: bytes) -> ScoreCall:
        """Read a body; raises RequestError naming the field."""
        try:
            request = cast(Any, decoded(self._decode, body))
        except RequestError as error:
            if not error.reason.startswith(_UNKNOWN):
                raise
            inside = error.field.startswith("candidates")
            known = self.candidate_type if inside else self.request_type
            names = ", ".join(f"`{name}`" for name in known.__struct_fields__)
            raise RequestError(error.field, f"{error.reason}. It takes: {names}") from error
        candidates, wanted = request.candidates, request.min_version
        return ScoreCall(
            self._entity_of(request),
            len(candidates),
            {name: list(map(read, candidates)) for name, read in self._fields},
            request.show,
            None if wanted is None else Version.parse(wanted),
            request.max_model_age_ms,
        )


# msgspec's words for a field that a type does not have.
_UNKNOWN = "Object contains unknown field"
# How msgspec tells where: "Expected `int`, got `str` - at `$.candidates[0].item_id`".
_WHERE = re.compile(r"^(?P<what>.*?)(?: - at `(?:key in )?\$\.?(?P<where>[^`]*)`)?$", re.DOTALL)


def placed(reason: str, above: str = "") -> tuple[str, str]:
    """Field and reason out of a message of msgspec; `above` is where the value itself stands.

    >>> placed("Expected `int`, got `str` - at `$.ts`", "events[3]")
    ('events[3].ts', 'Expected `int`, got `str`')
    """
    found = _WHERE.match(reason)
    what, where = (found["what"], found["where"]) if found else (reason, None)
    return ".".join(part for part in (above, where) if part) or "body", what


# msgspec's words for 163.0 where an integer is wanted.
_FLOAT_FOR_INT = re.compile(r"Expected `int\b[^`]*`, got `float`")


def may_be_whole(reason: str) -> bool:
    """Whether what was refused is right after all when 163.0 is read as 163, as JSON has it."""
    return _FLOAT_FOR_INT.search(reason) is not None


def with_whole_numbers(body: bytes) -> bytes:
    """The same JSON with each number that is whole written as an integer.

    Some clients write every number as a float (pandas turns ids into them); the rest never comes
    here, because it costs several times what decoding does.

    >>> with_whole_numbers(b'{"id": 163.0, "price": 0.5}')
    b'{"id":163,"price":0.5}'
    """
    return msgspec.json.encode(_whole(msgspec.json.decode(body)))


def _whole(value: object) -> object:
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, list):
        return [_whole(one) for one in value]
    if isinstance(value, dict):
        return {key: _whole(one) for key, one in value.items()}
    return value


def decoded(decode: Callable[[bytes], object], body: bytes) -> object:
    """What `decode` makes of a body; its errors become RequestError, naming the field."""
    try:
        try:
            return decode(body)
        except msgspec.ValidationError as error:
            if not may_be_whole(str(error)):
                raise
            return decode(with_whole_numbers(body))
    except msgspec.ValidationError as error:
        raise RequestError(*placed(str(error))) from error
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


def rounded(scores: Floats) -> list[float]:
    """Probabilities with six decimals: float32 holds no more, and the answer is half as long."""
    return cast(list[float], np.round(scores.astype(np.float64), 6).tolist())
