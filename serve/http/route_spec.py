"""The declaration of one REST route: routing, the fast path and OpenAPI are built from it."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from types import MappingProxyType
from typing import Any, Final, Generic, Literal, TypeAlias, TypeVar, cast

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from freshrank.actors.errors import RequestError
from freshrank.serve.access.api_keys import Scope
from freshrank.serve.api.known_names import listed
from freshrank.serve.api.requests import placed

T = TypeVar("T")

Handler: TypeAlias = Callable[[Request], Awaitable[Response]]
"""Answers one request; raises FreshrankError for an answer that is an error."""

JSON: Final = "application/json"

# Statuses that any route may answer with: a page of another site, a host that is not ours, headers
# too large, an internal error, and, from the proxy in front of the replicas, no replica that could
# take the request.
_ERRORS_OF_ALL: Final = (403, 421, 431, 500, 503)
# Statuses of a route that needs a key: there is none, or it is not known.
_ERRORS_OF_KEYS: Final = (401, 429)
# Statuses of a route that reads a body: not JSON, too slow, too large, not said to be JSON, a wrong
# field.
_ERRORS_OF_BODIES: Final = (400, 408, 413, 415, 422)

# What stands behind the name of a path parameter: ``{id:text}``.
_CONVERTOR = re.compile(r":\w+(?=})")


class _Required(Enum):
    REQUIRED = "required"


REQUIRED: Final = _Required.REQUIRED


@dataclass(frozen=True, slots=True)
class Parameter(Generic[T]):
    """A parameter of a route: in the path if the path names it, else in the query string."""

    name: str
    type: Any
    """What msgspec converts the text to; its constraints are checked and described."""
    default: T | Literal[_Required.REQUIRED] = REQUIRED
    choices: tuple[T, ...] = ()
    """The values that it may have; empty: all of its type."""

    def of(self, request: Request) -> T:
        """Its value in `request`. Raises RequestError (422) naming it, and its choices."""
        text = request.path_params.get(self.name, request.query_params.get(self.name))
        if text is None:
            if self.default is REQUIRED:
                raise RequestError(self.name, f"is missing{self._listed()}")
            return self.default
        try:
            value = cast(T, msgspec.convert(text, self.type, strict=False))
        except msgspec.ValidationError as error:
            raise RequestError(self.name, placed(str(error))[1]) from error
        if self.choices and value not in self.choices:
            raise RequestError(self.name, f"there is no {value!r}{self._listed()}")
        return value

    def _listed(self) -> str:
        return f": name {' or '.join(map(repr, self.choices))}" if self.choices else ""


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer that is not an error."""

    type: Any = None
    """The type that its JSON is encoded from; None: text that the document says no more of."""
    meaning: str = "Done"
    media_type: str = JSON


@dataclass(frozen=True, slots=True)
class JsonSchema:
    """A body that is described by a JSON schema in place of a type."""

    schema: Mapping[str, Any]
    definitions: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))
    """What `schema` refers to as ``#/$defs/<name>``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RouteSpec:
    """One method of one path."""

    method: Literal["GET", "POST", "DELETE"]
    path: str
    """As Starlette writes it: ``{name}``, or ``{name:text}`` for text that may hold slashes."""
    operation: str
    """Its ``operationId`` in the OpenAPI document."""
    summary: str
    handler: Handler
    answers: Mapping[int, Answer]
    """By HTTP status."""
    parameters: tuple[Parameter[Any], ...] = ()
    body: Any = None
    """The type that the request's JSON is decoded to, or a `JsonSchema`; None: no body is read."""
    errors: tuple[int, ...] = ()
    """Statuses of the errors that this route may answer with, beside those that all have."""
    limited: bool = False
    """Whether its requests count to `serve.max_ongoing_requests`, beyond which they get 503."""
    scope: Scope | None
    """What an API key has to allow, where keys are required; None: no key is needed."""
    fast: bool = False
    """Whether its requests take the fast path (`fast_path`); its path has no parameters then."""
    repeatable: bool = False
    """Whether a request may have an idempotency key (`kept_answers`)."""

    @property
    def documented_path(self) -> str:
        """The path as OpenAPI writes it.

        >>> from starlette.responses import Response
        >>> async def handler(request): return Response()
        >>> spec = RouteSpec(method="GET", path="/a/{id:text}/b", operation="b", summary="B",
        ...                  handler=handler, answers={200: Answer()}, scope=Scope.SCORE)
        >>> spec.documented_path, spec.error_statuses
        ('/a/{id}/b', (401, 403, 421, 422, 429, 431, 500, 503))
        """
        return _CONVERTOR.sub("", self.path)

    @property
    def error_statuses(self) -> tuple[int, ...]:
        """Every status that comes with an `ErrorAnswer`, ascending."""
        of_body = _ERRORS_OF_BODIES if self.body is not None else ()
        of_query = (422,) if self.parameters or self.scope is not None else ()
        of_keys = _ERRORS_OF_KEYS if self.scope is not None else ()
        found = {*self.errors, *of_body, *of_query, *of_keys, *_ERRORS_OF_ALL} - set(self.answers)
        return tuple(sorted(found))

    def check_query(self, names: Iterable[str]) -> None:
        """Raises RequestError (422) for the name of a query parameter that it does not have."""
        known = [one.name for one in self.parameters if self.location(one) == "query"]
        for name in names:
            if name not in known:
                raise RequestError(name, f"unknown query parameter{listed(name, known)}")

    def location(self, parameter: Parameter[Any]) -> Literal["path", "query"]:
        """Where the value of `parameter` is read from."""
        return "path" if f"{{{parameter.name}}}" in self.documented_path else "query"
