"""How new the weights and the rows of an answer have to be: what requests say of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any

import msgspec

from freshrank.actors.errors import RequestError
from freshrank.actors.messages import Version
from freshrank.serve.api.requests import VERSION_FORM

# The greatest integer of Kafka and NumPy.
_LARGEST = 2**63 - 1
# Topics whose offsets a request may name: more than the rows of an entity come from.
_MOST_TOPICS = 16
LONGEST_WAIT_MS = 10_000
"""A request that waits holds one of the places of its replica (`serve.max_ongoing_requests`)."""

_Offset = Annotated[int, msgspec.Meta(ge=0, le=_LARGEST)]
_Offsets = Annotated[dict[str, _Offset], msgspec.Meta(max_length=_MOST_TOPICS)]

CONSISTENCY_FIELDS: Sequence[tuple[str, Any, Any]] = (
    ("min_version", Annotated[str, msgspec.Meta(pattern=VERSION_FORM)] | None, None),
    ("max_model_age_ms", Annotated[int, msgspec.Meta(ge=0, le=_LARGEST)] | None, None),
    ("min_offsets", _Offsets | None, None),
    ("pinned", Annotated[str, msgspec.Meta(pattern=VERSION_FORM)] | None, None),
    ("timeout_ms", Annotated[int, msgspec.Meta(ge=0, le=LONGEST_WAIT_MS)] | None, None),
)
"""The fields of a request that `Consistency` is made of, as `msgspec.defstruct` takes them."""


@dataclass(frozen=True, slots=True)
class Consistency:
    """What a request waits for; by default it is answered with what the replica has."""

    min_version: Version | None = None
    """Weights of this version or a newer one."""
    max_model_age_ms: int | None = None
    """Weights that are at most so old."""
    min_offsets: Mapping[str, int] = field(default_factory=dict)
    """By topic: rows of the entity that contain its event with this offset."""
    pinned: str | None = None
    """The only version of the weights that may score."""
    timeout_ms: int | None = None
    """How long it waits; None: as long as the endpoint's settings say."""


ANY = Consistency()
"""Nothing is waited for."""


def consistency_of(request: Any) -> Consistency:
    """What a request with the fields `CONSISTENCY_FIELDS` waits for. Raises RequestError."""
    version, age_ms, offsets = request.min_version, request.max_model_age_ms, request.min_offsets
    pinned = request.pinned
    if version is None and age_ms is None and not offsets and pinned is None:
        return ANY
    if pinned is not None and (version is not None or age_ms is not None):
        reason = "names the weights already: leave `min_version` and `max_model_age_ms` out"
        raise RequestError("pinned", reason, status=409)
    least = None if version is None else Version.parse(version)
    return Consistency(least, age_ms, offsets or {}, pinned, request.timeout_ms)
