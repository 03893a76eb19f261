"""What requests have in common: their bounds, their decoding, and errors that name the field."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, cast

import msgspec
import numpy as np

from freshrank.actors.errors import ConfigError, RequestError
from freshrank.actors.messages import Doubles, Floats


@dataclass(frozen=True, slots=True)
class RequestLimits:
    """Bounds of one request."""

    body_bytes: int = 1_000_000
    """Kafka's own default bound of a message, so that no event that fits there is refused."""
    header_bytes: int = 16_384
    """Names and values of all headers; common proxies allow as much."""
    candidates: int = 1_000
    """Ten times the usual number of a ranking stage; scoring them takes about a millisecond."""
    explained: int = 20
    """Candidates in one POST /v1/explain: a person looks at a few, and each takes as long as
    scoring hundreds."""
    batch: int = 100
    """Requests in one POST /v1/score/batch."""
    batch_candidates: int = 5_000
    """Candidates of all these requests together: the event loop scores them in one go."""
    events: int = 1_000
    """In one POST /v1/events."""


def request_type(
    name: str, entity: tuple[str, Any], fields: Sequence[tuple[str, Any] | tuple[str, Any, Any]]
) -> type[msgspec.Struct]:
    """The type of requests about an entity, with a field of the entity's name before `fields`.

    Raises ConfigError where both have the same name.

    >>> request_type("Request", ("user", str), [("show", int, 3)]).__struct_fields__
    ('user', 'show')
    """
    if entity[0] in (field[0] for field in fields):
        place = f"Entity({entity[0]!r})"
        raise ConfigError(place, "requests have a field of that name", "Take another name.")
    return msgspec.defstruct(name, [entity, *fields], forbid_unknown_fields=True)


VERSION_FORM = r"^[0-9]{1,18}\.[0-9]{1,18}$(?!\n)"
"""How `Version` is written: 18 digits fit into 64 bits, and Python's `$` also matches before a line
feed."""

# What errors call a text that has another form.
_NO_VERSION = f"Expected `str` matching regex {VERSION_FORM!r}"
_VERSION = 'Expected a version of the weights, such as "3.1204"'

# The form of msgspec's messages: "Expected `int`, got `str` - at `$.candidates[0].item_id`".
_WHERE = re.compile(r"^(?P<what>.*?)(?: - at `(?:key in )?\$\.?(?P<where>[^`]*)`)?$", re.DOTALL)
# The form of those about a field that is not there, whose place is that of the object around it.
_MISSING = re.compile(r"^Object missing required field `(?P<name>[^`]*)`$")


def placed(reason: str, above: str = "") -> tuple[str, str]:
    """Field and reason of a message of msgspec; `above` is the place of the decoded value itself.

    >>> placed("Expected `int`, got `str` - at `$.ts`", "events[3]")
    ('events[3].ts', 'Expected `int`, got `str`')
    >>> placed("Object missing required field `ts`", "events[3]")
    ('events[3].ts', 'Object missing required field `ts`')
    >>> placed(f"Expected `str` matching regex {VERSION_FORM!r} - at `$.pinned`")
    ('pinned', 'Expected a version of the weights, such as "3.1204"')
    """
    found = _WHERE.match(reason)
    what, where = (found["what"], found["where"]) if found else (reason, None)
    missing = _MISSING.match(what)
    parts = (above, where, missing and missing["name"])
    return ".".join(part for part in parts if part) or "body", what.replace(_NO_VERSION, _VERSION)


# msgspec's message for 163.0 where the type is an integer.
_FLOAT_FOR_INT = re.compile(r"Expected `int\b[^`]*`, got `float`")


def may_be_whole(reason: str) -> bool:
    """Whether the refused value is valid once 163.0 is read as 163: JSON has one type of number."""
    return _FLOAT_FOR_INT.search(reason) is not None


def with_whole_numbers(body: bytes) -> bytes:
    """The same JSON, with every float of an integral value written as an integer.

    Some clients write all numbers as floats (pandas turns ids into floats). Called only after
    decoding has failed, because it takes several times as long as decoding.

    >>> with_whole_numbers(b'{"id": 163.0, "price": 0.5}')
    b'{"id":163,"price":0.5}'
    """
    return msgspec.json.encode(_whole(msgspec.json.decode(body)))


def _whole(value: object) -> object:
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, list):
        return [_whole(item) for item in value]
    if isinstance(value, dict):
        return {key: _whole(item) for key, item in value.items()}
    return value


def decoded(decode: Callable[[bytes], object], body: bytes) -> object:
    """The result of `decode`; its errors become a RequestError that names the field."""
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


def rounded(scores: Floats | Doubles) -> list[float]:
    """Predictions with six decimals: a probability has no more, and the answer is half as long.

    >>> rounded(np.array([0.1, 2 / 3], dtype=np.float32))
    [0.1, 0.666667]
    """
    return cast(list[float], np.round(scores.astype(np.float64), 6).tolist())
