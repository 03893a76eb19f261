"""The OpenAPI document of a table of routes: schemas come from the types that encode and decode."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from http import HTTPStatus
from typing import Any, TypeAlias

import msgspec

from freshrank.serve.api.responses import ErrorAnswer
from freshrank.serve.http.kept_answers import KEPT_S, KEY_PATTERN
from freshrank.serve.http.route_spec import JSON, REQUIRED, Answer, JsonSchema, Parameter, RouteSpec

Document: TypeAlias = dict[str, Any]

_REFERENCES = "#/components/schemas/{name}"
_MEANINGS = {
    400: "The body is not JSON",
    401: "The request has no API key, or one that is not known",
    429: "The API key has sent more requests than its rate allows",
    403: "The request comes from a page of another site, or its key has not the scope",
    404: "There is no such entity, item or page",
    408: "The body was not complete in time",
    409: "The weights asked for did not arrive in time: ask for less, or again later; or the "
    "idempotency key was used for another request",
    413: "The body is too large, or one event is for its topic",
    415: "The body is not said to be `application/json`",
    421: "The `Host` is not a name of this endpoint",
    422: "A field is wrong; the answer names it",
    431: "The headers are too large",
    500: "An internal error",
    503: "Overloaded, or a part that the answer needs did not answer in time: try again",
}
_ABOUT = (
    "Errors are JSON: `ErrorAnswer`. Only a request whose head HAProxy cannot parse (malformed, "
    "beyond about 15,000 bytes or 101 headers), or whose head is not complete in time, gets a 400 "
    "or 408 in HTML."
)
# The name of the security scheme.
_KEY = "key"
_KEY_SCHEME = {
    "type": "http",
    "scheme": "bearer",
    "description": "A key of `freshrank keys create`, with the scope that each operation names. "
    "On loopback none is needed, unless `serve.require_keys` is set.",
}
_IDEMPOTENCY_KEY = {
    "name": "Idempotency-Key",
    "in": "header",
    "required": False,
    "description": "A text of the client's for this request. If it is sent again with the same one "
    f"within {KEPT_S:.0f} s, it gets the same answer, and nothing is logged as shown twice",
    "schema": {"type": "string", "pattern": KEY_PATTERN},
}
_RETRY_AFTER = {
    "description": "Seconds to wait before the next try",
    "schema": {"type": "string", "pattern": "^[0-9]+$"},
}


def document(
    pipeline: str, specs: Sequence[RouteSpec], narrower: Mapping[str, Document] | None = None
) -> Document:
    """OpenAPI 3.1 of the routes of `pipeline`.

    `narrower` has, by title, the schemas that stand in place of those of the types: those of values
    that are of one type in this pipeline, and of another elsewhere.
    """
    schemas = _Schemas(specs, narrower or {})
    paths: Document = {}
    for spec in specs:
        paths.setdefault(spec.documented_path, {})[spec.method.lower()] = _operation(spec, schemas)
    return {
        "openapi": "3.1.0",
        "info": {"title": f"Freshrank: {pipeline}", "version": "1", "description": _ABOUT},
        "paths": paths,
        "components": {
            "schemas": schemas.components,
            "securitySchemes": {_KEY: _KEY_SCHEME},
        },
    }


class _Schemas:
    """The schemas of all types that routes take and give; named ones are shared components."""

    def __init__(self, specs: Sequence[RouteSpec], narrower: Mapping[str, Document]) -> None:
        types: list[Any] = [ErrorAnswer]
        for spec in specs:
            types += [answer.type for answer in spec.answers.values() if answer.type is not None]
            types += [parameter.type for parameter in spec.parameters]
            if spec.body is not None and not isinstance(spec.body, JsonSchema):
                types.append(spec.body)
        self._types, self._narrower = types, narrower
        found, components = msgspec.json.schema_components(types, ref_template=_REFERENCES)
        self._found = found
        for spec in specs:
            if isinstance(spec.body, JsonSchema):
                components |= spec.body.definitions
        self.components: Document = _explicit(_relinked(components), narrower)

    def of(self, kind: Any) -> Document:
        if isinstance(kind, JsonSchema):
            found = _relinked(dict(kind.schema))
        else:
            found = self._found[self._types.index(kind)]
        schema: Document = _explicit(found, self._narrower)
        return schema


def _operation(spec: RouteSpec, schemas: _Schemas) -> Document:
    operation: Document = {"operationId": spec.operation, "summary": spec.summary}
    if spec.scope is not None:
        # Without a key, where none is required; else with one of this scope.
        operation["security"] = [{}, {_KEY: [spec.scope.value]}]
    parameters = [_parameter(spec, parameter, schemas) for parameter in spec.parameters]
    if spec.repeatable:
        parameters.append(_IDEMPOTENCY_KEY)
    if parameters:
        operation["parameters"] = parameters
    if spec.body is not None:
        content = {JSON: {"schema": schemas.of(spec.body)}}
        operation["requestBody"] = {"required": True, "content": content}
    answers = {str(status): _answer(answer, schemas) for status, answer in spec.answers.items()}
    errors = {str(status): _error(status, schemas) for status in spec.error_statuses}
    return operation | {"responses": answers | errors}


def _parameter(spec: RouteSpec, parameter: Parameter[Any], schemas: _Schemas) -> Document:
    schema = schemas.of(parameter.type)
    if parameter.default is not REQUIRED:
        schema = {**schema, "default": parameter.default}
    if parameter.choices:
        schema = {**schema, "enum": list(parameter.choices)}
    return {
        "name": parameter.name,
        "in": spec.location(parameter),
        "required": parameter.default is REQUIRED,
        "schema": schema,
    }


def _answer(answer: Answer, schemas: _Schemas) -> Document:
    schema = {"type": "string"} if answer.type is None else schemas.of(answer.type)
    return {"description": answer.meaning, "content": {answer.media_type: {"schema": schema}}}


def _error(status: int, schemas: _Schemas) -> Document:
    error = _answer(Answer(ErrorAnswer, _MEANINGS[status]), schemas)
    if status in (HTTPStatus.SERVICE_UNAVAILABLE, HTTPStatus.TOO_MANY_REQUESTS):
        error["headers"] = {"Retry-After": _RETRY_AFTER}
    if status == HTTPStatus.UNAUTHORIZED:
        error["headers"] = {"WWW-Authenticate": {"schema": {"const": "Bearer"}}}
    return error


def _explicit(schema: Any, narrower: Mapping[str, Document]) -> Any:
    """`schema` with what is `narrower`, saying where an object may have any fields, and of texts.

    In JSON schema that is so anyway. Generators of clients take an object of which nothing is said
    for an empty one, and choices without a type for ones among anything.
    """
    if isinstance(schema, list):
        return [_explicit(one, narrower) for one in schema]
    if not isinstance(schema, dict):
        return schema
    title = schema.get("title")
    if isinstance(title, str) and title in narrower:
        return narrower[title]
    found = {key: _explicit(value, narrower) for key, value in schema.items()}
    choices = found.get("enum")
    if isinstance(choices, list) and all(isinstance(one, str) for one in choices):
        found["type"] = "string"
    if found.get("type") == "object" and not {"properties", "additionalProperties"} & found.keys():
        found["additionalProperties"] = True
    return found


def _relinked(schema: Any) -> Any:
    """`schema` with its references to ``$defs`` pointing to the document's components."""
    return relinked(schema, lambda name: _REFERENCES.format(name=name))


def relinked(schema: Any, reference: Callable[[str], str]) -> Any:
    """`schema`, in which each ``#/$defs/<name>`` is replaced by ``reference(name)``."""
    if isinstance(schema, dict):
        return {key: relinked(value, reference) for key, value in schema.items()}
    if isinstance(schema, list):
        return [relinked(value, reference) for value in schema]
    if isinstance(schema, str) and schema.startswith("#/$defs/"):
        return reference(schema.removeprefix("#/$defs/"))
    return schema
